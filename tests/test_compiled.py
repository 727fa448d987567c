"""Copies in loops of compiled programs are found, and nothing else is."""

import jax
import jax.numpy as jnp
import pytest

from tests.compiled import compiled, copies_in_loops

WEIGHTS, CACHE = jnp.ones((3, 16, 16)), jnp.zeros((8, 16))
WEIGHT_SIZE, CACHE_SIZE = WEIGHTS[0].size, CACHE.size


def found(step, carry, at_least, **settings):
    """Return the copies in a loop of ten steps, as the names of their instructions."""
    program = compiled(lambda carry: jax.lax.fori_loop(0, 10, step, carry), carry)
    return [line.partition("(")[0].split()[-1] for line in copies_in_loops(program, at_least, **settings)]


def test_an_inner_loop_over_stacked_weights_slices_them():
    def step(index, carry):
        weights, h = carry
        return weights, jax.lax.scan(lambda h, weight: (jnp.tanh(h @ weight), None), h, weights)[0]

    assert found(step, (WEIGHTS, jnp.ones((2, 16))), WEIGHT_SIZE) == ["dynamic-slice"]


def test_a_weight_in_another_order_is_found():
    def step(index, carry):
        weight, h = carry
        return weight, jnp.tanh(h @ weight[::-1])

    assert "reverse" in found(step, (WEIGHTS[0], jnp.ones((2, 16))), WEIGHT_SIZE)


def test_a_cache_whose_old_value_is_read_after_it_is_written_is_copied():
    def step(index, carry):
        cache, h = carry
        new = cache.at[index % 8].set(h)
        return new, jnp.tanh(h + cache[(index + 1) % 8] + new[(index + 2) % 8])

    assert set(found(step, (CACHE, jnp.ones(16)), CACHE_SIZE)) == {"copy"}


def test_a_branch_in_a_loop_is_part_of_it_unless_it_is_left_out():
    def step(index, carry):
        cache, h = carry
        turned = jax.lax.cond(index % 2 == 0, lambda a: a.T.reshape(8, 16), lambda a: a, cache)
        return turned, h + jnp.sum(turned)

    assert "transpose" in found(step, (CACHE, jnp.ones(16)), CACHE_SIZE)
    assert "transpose" not in found(step, (CACHE, jnp.ones(16)), CACHE_SIZE, branches=False)


@pytest.mark.parametrize("at_least", [WEIGHT_SIZE, CACHE_SIZE])
def test_products_and_updates_in_place_are_no_copies(at_least):
    def step(index, carry):
        weight, cache, h = carry
        cache = cache.at[index % 8].set(h)
        return weight, cache, jnp.einsum("td,d->t", cache, jnp.tanh(h @ weight)) @ cache

    assert found(step, (WEIGHTS[0], CACHE, jnp.ones(16)), at_least) == []


def test_copies_outside_of_loops_are_not_counted():
    def step(index, h):
        return jnp.tanh(h)

    program = compiled(lambda h: jax.lax.fori_loop(0, 10, step, h.T[::-1]).T, CACHE)
    assert copies_in_loops(program, CACHE_SIZE) == []
    assert " transpose(" in program.as_text() or " copy(" in program.as_text()
