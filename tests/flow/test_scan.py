"""Scanned layers equal the same layers one by one, compile as one, and need not store activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_close

from genjax import nets
from genjax.core import Variables
from genjax.flow import ActNorm, Affine, Chain, Coupling, InvertibleLinear, Permutation, Scan, real_nvp

NET = nets.MLP((8,), activation=jax.nn.tanh, output_scale=0.3)
LAYER = Chain((ActNorm(), InvertibleLinear(), Permutation(), Coupling(transform=Affine(), net=NET)))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (6, 4)) * jnp.array([1.0, 3.0, 0.5, 2.0])[None] + 1.0


@pytest.fixture(scope="module")
def condition():
    return jax.random.normal(jax.random.key(1), (6, 2))


def loss(bijection, params, state, x, condition):
    y, log_det = bijection.forward(Variables(params, state), x, condition)
    return jnp.mean(jnp.sum(jnp.square(y), axis=1) * jnp.arange(1.0, 7.0) - log_det**2)


@pytest.mark.parametrize("unroll", [1, 2])
def test_equals_its_layers_one_by_one(x, condition, unroll):
    scan = Scan(LAYER, 3, unroll=unroll)
    variables = jax.jit(scan.init)(jax.random.key(2), x, condition)
    y, log_det = jax.jit(scan.forward)(variables, x, condition)
    back, log_det_back = jax.jit(scan.inverse)(variables, y, condition)
    layer, one, total = jax.jit(LAYER.forward), x, 0.0
    for i in range(3):
        own = jax.tree.map(lambda leaf: leaf[i], variables)  # noqa: B023
        one, more = layer(own, one, condition)
        total = total + more
    assert_trees_all_close((y, log_det), (one, total), atol=1e-5)
    assert_trees_all_close((back, log_det_back), (x, -log_det), atol=1e-4)


def test_each_layer_is_initialized_from_the_output_of_those_before_it(x):
    y, _ = Scan(ActNorm(), 1).forward(Scan(ActNorm(), 1).init(jax.random.key(2), x), x)
    np.testing.assert_allclose(y.std(axis=0), 1.0, atol=1e-4)
    second = Scan(ActNorm(), 2).init(jax.random.key(2), x).params
    np.testing.assert_allclose(second["shift"][1], 0.0, atol=1e-5)
    np.testing.assert_allclose(second["log_scale"][1], 0.0, atol=1e-4)


def test_each_layer_has_its_own_constants(x):
    order = Scan(Permutation(), 8).init(jax.random.key(2), x).state.order
    assert len({tuple(row) for row in order.tolist()}) > 1


def test_gradients_from_inverted_layers_are_those_from_stored_ones(x, condition):
    store, invert = Scan(LAYER, 4), Scan(LAYER, 4, backward="invert")
    variables = jax.jit(store.init)(jax.random.key(2), x, condition)
    gradients = [
        jax.jit(jax.grad(lambda p, x, c, b=b: loss(b, p, variables.state, x, c), (0, 1, 2)))(
            variables.params, x, condition
        )
        for b in (store, invert)
    ]
    assert_trees_all_close(*gradients, rtol=2e-4, atol=2e-4)


def test_inverted_layers_work_without_a_condition(x):
    invert = Scan(LAYER, 2, backward="invert")
    variables = jax.jit(invert.init)(jax.random.key(2), x)
    gradient = jax.jit(jax.grad(lambda x: loss(invert, variables.params, variables.state, x, None)))(x)
    assert np.isfinite(gradient).all()


def test_memory_of_inverted_layers_does_not_grow_with_their_number():
    def bytes_used(backward, num_layers):
        scan = Scan(Coupling(transform=Affine(), net=nets.MLP((64,))), num_layers, backward=backward)
        x = jnp.zeros((512, 64))
        variables = jax.eval_shape(scan.init, jax.random.key(0), x)
        run = jax.jit(jax.grad(lambda p, state, x: sum(map(jnp.sum, scan.forward(Variables(p, state), x)))))
        return run.lower(*variables, x).compile().memory_analysis().temp_size_in_bytes

    grown = {backward: bytes_used(backward, 64) - bytes_used(backward, 8) for backward in ("store", "invert")}
    assert grown["invert"] < 0.05 * grown["store"]


def test_the_program_of_sixty_four_layers_is_as_long_as_that_of_four():
    def length(num_layers):
        model = real_nvp(shape=(6,), num_layers=num_layers, hidden=(16, 16))
        x = jnp.zeros((8, 6))
        variables = jax.eval_shape(model.init, jax.random.key(0), {"x": x})
        step = jax.jit(jax.grad(lambda p, state: -jnp.mean(model.log_prob(Variables(p, state), x))))
        return len(step.lower(*variables).as_text().splitlines())

    assert length(64) == length(4)


def test_refuses_what_it_cannot_run():
    with pytest.raises(ValueError, match="num_layers is 0, but must be at least 1"):
        Scan(LAYER, 0)
    with pytest.raises(ValueError, match="backward is 'free', but must be 'store' or 'invert'"):
        Scan(LAYER, 2, backward="free")
