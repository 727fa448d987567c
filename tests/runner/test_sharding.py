"""Placements of training states on a mesh, and training on meshes of eight virtual devices."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from genjax.core import TrainState
from genjax.nets import UNet
from genjax.sharding import Placement, Rules, bytes_per_device, is_communication_error, parse_mesh
from tests.contract.registry import CASES
from tests.running import QUICK, ROOT, TINY, finish, losses, start
from tests.tiers import FAST_CASES

MESHES = ("data=8", "fsdp=8", "data=2,fsdp=4", "data=2,fsdp=2,model=2", "model=8", "fsdp=2,model=4")
OTHERS = [name for name in FAST_CASES if any(case.name == name for case in CASES)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data=2,tensor=4", "'tensor' is no axis; use data, fsdp and model"),
        ("data=2,data=4", "names data twice"),
        ("data=0", "the size of data must be a number of devices"),
        ("fsdp", "the size of fsdp must be a number of devices"),
        ("", "'' is no axis"),
    ],
)
def test_bad_meshes_are_one_clear_line(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_mesh(text)
    assert "\n" not in str(error.value)


def test_sizes_multiply_to_the_number_of_devices():
    with pytest.raises(ValueError, match=r"mesh is data=2,fsdp=3, which takes 6 devices, but there are 2; use sizes"):
        Placement({"data": 2, "fsdp": 3})
    with pytest.raises(ValueError, match=r"mesh is data=1, which takes 1 devices, but there are 2; use sizes"):
        Placement({"data": 1})


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("UNAVAILABLE: Connection reset by peer"), True),
        (ValueError("seeds is 0, but must be at least 1"), False),
        (jax.errors.JaxRuntimeError("INTERNAL: connection closed"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), False),
        (KeyError("x"), False),
    ],
)
def test_which_errors_may_come_from_other_processes(monkeypatch, error, expected):
    assert not is_communication_error(error)  # of the only process
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    assert is_communication_error(error) == expected
    caused = RuntimeError("saving failed")
    caused.__cause__ = error
    assert is_communication_error(caused) == expected


def test_parameters_are_whole_over_fsdp_alone_while_a_step_computes(monkeypatch):
    layouts = {}
    monkeypatch.setattr(
        jax.lax, "with_sharding_constraint", lambda array, sharding: layouts.update({array: sharding.spec})
    )
    placement = Placement({"fsdp": 2})
    mesh = AbstractMesh((2, 2), ("fsdp", "model"))
    monkeypatch.setattr(placement, "mesh", mesh)
    split = {"both": ("model", "fsdp"), "together": (None, ("fsdp", "model")), "whole": ()}
    placed = {
        name: jax.ShapeDtypeStruct((4, 4), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*axes)))
        for name, axes in split.items()
    }
    placement.gather({name: name for name in split}, placed)
    assert {name: tuple(spec) for name, spec in layouts.items()} == {
        "both": ("model", None),
        "together": (None, None),
        "whole": (),
    }


def state_of(params):
    opt_state = {"loss": optax.adam(1e-3).init(params)}
    average = {"0.05": params}
    return TrainState(
        step=jnp.int32(0),
        params=params,
        state={"mean": jnp.ones(2048)},
        opt_state=opt_state,
        ema=None,
        averages=average,
    )


def specs(placement, state, rules, num_replicas=1):
    placed = placement.place(state, rules, num_replicas)
    return jax.tree.map(lambda leaf: tuple(leaf.sharding.spec), placed)


PARAMS = {"net": {"kernel": jnp.ones((64, 48)), "odd": jnp.ones((1023, 3)), "bias": jnp.ones(48)}}


def test_fsdp_splits_the_largest_axis_that_the_devices_divide():
    placed = specs(Placement({"fsdp": 2}), state_of(PARAMS), Rules())
    expected = {"net": {"kernel": ("fsdp", None), "odd": (), "bias": ()}}
    assert placed.params == placed.averages["0.05"] == expected
    assert placed.opt_state["loss"][0].mu == placed.opt_state["loss"][0].nu == expected
    assert placed.opt_state["loss"][0].count == placed.step == placed.state["mean"] == ()


def test_replicas_come_before_the_axes_that_are_split():
    state = jax.tree.map(lambda a: jnp.stack([a] * 3), state_of(PARAMS))
    assert specs(Placement({"fsdp": 2}), state, Rules(), 3).params["net"]["kernel"] == (None, "fsdp", None)


def test_models_split_tensors_and_fsdp_the_rest():
    rules = Rules(tensor_axis=lambda path: -1 if path.endswith("kernel") else None)
    placed = specs(Placement({"model": 2}), state_of(PARAMS), rules)
    assert placed.params["net"] == {"kernel": (None, "model"), "odd": (), "bias": ()}


def test_a_partition_replaces_all_rules_also_for_the_optimizer():
    rules = Rules(partition={"net/bias": PartitionSpec("fsdp"), "net/odd": PartitionSpec()}.get)
    placed = specs(Placement({"fsdp": 2}), state_of(PARAMS), rules)
    assert placed.params["net"] == {"kernel": ("fsdp", None), "odd": (), "bias": ("fsdp",)}
    assert placed.opt_state["loss"][0].mu["net"]["bias"] == ("fsdp",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (PartitionSpec(None, None, "fsdp"), "but it has 2 axes"),
        (PartitionSpec("fdsp"), "over 'fdsp', but axes are data, fsdp and model"),
        (PartitionSpec("fsdp"), "of length 1023 into 2 parts"),
    ],
)
def test_a_partition_that_does_not_fit_is_named(spec, message):
    rules = Rules(partition=lambda path: spec if path == "net/odd" else None)
    with pytest.raises(ValueError, match=message):
        Placement({"fsdp": 2}).place(state_of(PARAMS), rules)


def test_a_model_without_a_rule_has_no_model_axis():
    with pytest.raises(ValueError, match=r"mesh is model=2, but the model does not say which axes"):
        Placement({"model": 2}).place(state_of(PARAMS), Rules())


def test_split_arrays_take_their_share_of_a_device():
    placed = Placement({"fsdp": 2}).place(state_of(PARAMS), Rules())
    assert bytes_per_device(placed.params) == 4 * (64 * 48 // 2 + 1023 * 3 + 48)


def test_batches_are_split_over_data_and_fsdp_alone():
    with pytest.raises(ValueError, match=r"batch_size is 5, but 2 devices must share it evenly"):
        Placement({"fsdp": 2}).check_batch(5)
    Placement({"model": 2}).check_batch(5)
    assert tuple(Placement({"model": 2}).split(0).spec) == (None,)


def test_channels_inside_of_blocks_are_split_and_those_between_are_whole():
    axis = UNet(features=8).tensor_axis
    assert [axis(f"net/ResidualBlock_0/Conv_{i}/kernel") for i in (0, 1)] == [-1, -2]
    assert axis("net/Conv_0/kernel") is None
    assert axis("net/ResidualBlock_0/skip/kernel") is None


def on_eight_devices(names, num_steps, *meshes):
    """Return what ``tests/runner/sharded.py`` prints, computed in 64 bits: training amplifies rounding errors."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "tests.runner.sharded", names, str(num_steps), *meshes]
    process = subprocess.run(
        command, env={**os.environ, **flags, **QUICK}, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def assert_sharded_as_unsharded(results):
    reference = results.pop("data=1")["losses"]
    for mesh, result in results.items():
        assert result["losses"].keys() == reference.keys()
        for name, values in result["losses"].items():
            # Relative to the largest of a curve: contrastive losses are differences, and pass through zero.
            scale = np.abs(reference[name]).max()
            np.testing.assert_allclose(
                values, reference[name], rtol=1e-5, atol=1e-5 * scale, err_msg=f"{name} on {mesh}"
            )


def assert_split(result, mesh):
    """Assert that parameters, their averages and moments are divided by the axes that their specifications name."""
    kernels = [path for path in result["specs"] if path.endswith("kernel")]
    assert {path.partition("/")[0] for path in kernels} == {"params", "opt_state", "ema"}
    for path in kernels:
        parts = np.prod(result["shapes"][path]) / np.prod(result["parts"][path])
        named = [mesh[axis] for axis in mesh if f"'{axis}'" in result["specs"][path]]
        assert parts == np.prod(named)
    assert any(f"'{axis}'" in result["specs"][path] for path in kernels for axis in ("fsdp", "model"))


def test_a_mesh_of_three_axes_trains_as_one_device():
    mesh = "data=2,fsdp=2,model=2"
    for results in on_eight_devices("split_gpt,split_dit", 10, "data=1", mesh).values():
        assert_split(results[mesh], parse_mesh(mesh))
        assert_sharded_as_unsharded(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["split_gpt", "split_dit", "split_unet"])
def test_every_mesh_trains_a_split_network_as_one_device(name):
    results = on_eight_devices(name, 50, "data=1", *MESHES)[name]
    for mesh in MESHES[1:]:
        assert_split(results[mesh], parse_mesh(mesh))
    assert_sharded_as_unsharded(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_mesh_trains_every_family_as_one_device(name):
    assert_sharded_as_unsharded(on_eight_devices(name, 50, "data=1", *MESHES[:3])[name])


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path):
    """Eight devices, then two, then four, each with another mesh: the losses are those of one device."""
    wide = ("--widths", 64, "--workdir")
    one, moved = tmp_path / "one", tmp_path / "moved"
    status, _, err = finish(start("train", TINY, *wide, one, "--steps", 30))
    assert status == 0, err
    for devices, mesh, steps in ((8, "data=2,fsdp=4", 10), (2, "fsdp=2", 20), (4, "data=2,fsdp=2", 30)):
        resume = () if devices == 8 else ("--resume",)
        command = ("train", TINY, *wide, moved, "--steps", steps, "--mesh", mesh, *resume)
        status, _, err = finish(start(*command, devices=devices))
        assert status == 0, err
        assert "not the one that the run began with" not in err
    expected = losses(one)
    assert losses(moved).keys() == expected.keys()
    np.testing.assert_allclose(list(losses(moved).values()), list(expected.values()), rtol=1e-5)
