"""Counts of products and collectives, against programs whose counts are known."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import Conv
from genjax.roofline import CHIPS, Collective, collectives, count_flops, roofline, share, wire_bytes


def flops(function, *shapes):
    return count_flops(jax.make_jaxpr(function)(*(jnp.ones(shape) for shape in shapes)))


def test_a_product_takes_two_flops_for_each_multiply_add():
    assert flops(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (4, 3, 5), (4, 5, 7)) == 2 * 4 * 3 * 5 * 7


def test_gradients_and_loops_count():
    def loss(w, x):
        return jnp.sum(jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, w)[0])

    assert flops(loss, (6, 4, 4), (2, 4)) == 6 * 2 * 2 * 4 * 4
    # Forward, and two products backward.
    assert flops(jax.grad(loss), (6, 4, 4), (2, 4)) == 3 * 6 * 2 * 2 * 4 * 4
    assert flops(jax.grad(jax.checkpoint(loss)), (6, 4, 4), (2, 4)) == 4 * 6 * 2 * 2 * 4 * 4


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_takes_a_product_for_each_output_and_weight_of_its_channel(groups):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    assert flops(convolve, (2, 8, 8, 4), (3, 3, 4 // groups, 6)) == 2 * (2 * 4 * 4 * 6) * (3 * 3 * 4 // groups)


def test_the_convolution_of_networks_counts_too():
    """Forward; then the kernel's gradient, a product for each output and weight as well."""
    net = Conv(4, (3, 3))
    params = net.init(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    once = 2 * (2 * 8 * 8 * 4) * (3 * 3 * 3)
    assert count_flops(jax.make_jaxpr(net.apply)(params, jnp.ones((2, 8, 8, 3)))) == once

    def loss(params):
        return jnp.sum(net.apply(params, jnp.ones((2, 8, 8, 3))) ** 2)

    assert count_flops(jax.make_jaxpr(jax.grad(loss))(params)) == 2 * once


def test_of_the_branches_of_a_condition_the_larger_counts():
    def branch(p, a, b):
        return jax.lax.cond(p.sum() > 0, lambda: a @ b, lambda: jnp.zeros((3, 7)))

    assert flops(branch, (), (3, 5), (5, 7)) == 2 * 3 * 5 * 7


LOOP = """HloModule jit_step

%cond (p: (s32[], f32[4])) -> pred[] {
  %p = (s32[], f32[4]{0}) parameter(0)
  %length = s32[] constant(24)
  %counter = s32[] get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%counter, %length), direction=LT
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %start = (f32[4]{0}, f32[16]{0}) all-gather-start(%x), dimensions={0}
  %gathered = f32[16]{0} all-gather-done(%start)
  %scattered = bf16[2]{0} reduce-scatter(%gathered), to_apply=%add
  ROOT %next = (s32[], f32[4]{0}) tuple(%counter, %x)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %init = (s32[], f32[4]{0}) tuple(%zero, %x)
  %loop = (s32[], f32[4]{0}) while(%init), condition=%cond, body=%body
  ROOT %sum = (f32[4]{0}, f32[8]{0}) all-reduce(%x, %y), to_apply=%add
}
"""


def test_collectives_in_loops_count_for_each_iteration():
    found = collectives(LOOP)
    assert found == {
        "all-gather": Collective(24, 24 * 64),
        "reduce-scatter": Collective(24, 24 * 64),
        "all-reduce": Collective(1, 48),
    }
    assert wire_bytes(found) == 24 * 128 + 2 * 48


# As the compiler for TPUs writes it: an all-gather that begins, goes on inside a product, and ends.
FUSED = """HloModule jit_step, is_scheduled=true

%begin (w: f32[2]) -> (f32[2], f32[8]) {
  %w = f32[2]{0} parameter(0)
  %all-gather.1 = f32[8]{0} all-gather(%w), channel_id=7, frontend_attributes={chain_id="0"}
  ROOT %started = (f32[2]{0}, f32[8]{0}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (w: f32[2]) -> f32[4] {
  %w = f32[2]{0} parameter(0)
  %all-gather.2 = f32[8]{0} all-gather(%w), channel_id=7, frontend_attributes={chain_id="0"}
  ROOT %product = f32[4]{0} convolution(%w, %w)
}

%end (w: f32[2]) -> f32[8] {
  %w = f32[2]{0} parameter(0)
  %all-gather.3 = f32[8]{0} all-gather(%w), channel_id=7, frontend_attributes={chain_id="0"}
  ROOT %ended = f32[8]{0} custom-call(%all-gather.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (w: f32[2]) -> f32[8] {
  %w = f32[2]{0} parameter(0)
  %one = (f32[4]{0}, f32[4]{0}) collective-permute-start(%w)
  %two = f32[4]{0} collective-permute-done(%one)
  %start = (f32[2]{0}, f32[8]{0}) fusion(%w), kind=kCustom, calls=%begin
  %beside = f32[4]{0} fusion(%start), kind=kCustom, calls=%async_collective_fusion.1
  ROOT %done = f32[8]{0} fusion(%beside), kind=kCustom, calls=%end
}
"""


def test_a_collective_in_several_fusions_counts_once_and_runs_beside_work():
    expected = {"collective-permute": Collective(1, 16, 0), "all-gather": Collective(1, 32, 32)}
    assert collectives(FUSED) == expected
    alone = re.sub(r"  %beside.*\n", "", FUSED)
    assert collectives(alone) == expected | {"all-gather": Collective(1, 32, 0)}


def test_work_between_start_and_end_overlaps():
    work = "  %work = f32[4]{0} fusion(%x), kind=kLoop, calls=%add\n  %gathered"
    assert collectives(LOOP.replace("  %gathered", work))["all-gather"].overlapped == 24 * 64


def test_a_stated_trip_count_is_taken():
    stated = LOOP.replace("body=%body\n", 'body=%body, backend_config={"known_trip_count":{"n":"3"}}\n')
    assert collectives(stated)["all-gather"].count == 3


def test_a_compiled_program_has_the_collective_that_it_needs():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    compiled = jax.jit(lambda x: jnp.sum(x, axis=0), out_shardings=whole).lower(
        jax.ShapeDtypeStruct((4, 8), jnp.float32, sharding=split)
    )
    assert collectives(compiled.compile().as_text()) == {"all-reduce": Collective(1, 32)}


def test_the_slowest_resource_binds():
    chip = CHIPS["h100"]
    assert roofline(chip, flops=989e9, memory_bytes=0, collective_bytes=0) == (1e-3, "products")
    seconds, resource = roofline(chip, flops=1e9, memory_bytes=3350e6, collective_bytes=45e6)
    np.testing.assert_allclose(seconds, 1e-3)
    assert resource == "memory"
    assert share(chip, 2).flops == chip.flops / 2
