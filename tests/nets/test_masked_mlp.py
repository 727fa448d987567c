"""Masked MLP: outputs depend on exactly the earlier inputs, and its decoder equals the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import MaskedMLP

SIZES = [
    (1, (1,)),
    (2, (1,)),
    (2, (5, 3)),
    (3, (7, 4, 5)),
    (5, (3, 2)),
    (7, (10, 6, 23)),
]


def with_random_parameters(net, dim, condition):
    """Return variables with every entry far from zero, biases included."""
    shapes = jax.eval_shape(
        net.init, jax.random.key(0), jnp.zeros((1, dim)), None if condition is None else condition[:1]
    )
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), shapes)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("dim", "features"), SIZES)
def test_an_output_sees_the_inputs_before_it(dim, features, conditional):
    net = MaskedMLP(features, num_outputs=2, activation=jnp.tanh)
    x = jax.random.normal(jax.random.key(1), (20, dim)) / 2
    condition = jnp.ones((20, 3)) if conditional else None
    variables = with_random_parameters(net, dim, condition)

    @jax.jit
    @jax.vmap
    def jacobians(row, *condition):
        rows = [values[None] for values in (row, *condition)]
        return jax.jacfwd(lambda *rows: net.apply(variables, *rows)[0], tuple(range(len(rows))))(*rows)

    by_x, *by_condition = jax.device_get(jacobians(x, *([condition] if conditional else [])))
    by_x = by_x[:, :, :, 0]
    gradients = np.abs(by_x).max(0)  # (P, outputs, inputs)
    earlier = np.tri(dim, k=-1, dtype=bool)
    assert (gradients[:, ~earlier] == 0).all()
    if min(features) >= dim:  # wide enough for units of every degree
        assert (gradients[:, earlier] > 0).all()
    if conditional:
        assert (np.abs(by_condition[0]).max(0) > 0).all()


@pytest.mark.parametrize("features", [(1,), (4, 6)])
def test_narrow_networks_use_all_their_units(features):
    """Every hidden unit is connected to some output, however narrow the network."""
    net, dim = MaskedMLP(features), 5
    variables = with_random_parameters(net, dim, jnp.zeros((1, 2)))
    x, condition = jax.random.normal(jax.random.key(1), (3, dim)), jnp.ones((3, 2))
    smooth = net.clone(activation=jnp.tanh)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(smooth.apply(v, x, condition) ** 2)))(variables)
    for layer in range(len(features)):
        assert (gradient["params"][f"layer_{layer}"]["bias"] != 0).all()


@pytest.mark.parametrize(("ordered", "conditional"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize(("dim", "features"), [*SIZES, (5, (7, 7, 7))])
def test_decoder_equals_one_pass_for_each_dimension(dim, features, conditional, ordered):
    net = MaskedMLP(features, num_outputs=2, residual=features == (7, 7, 7))
    condition = jax.random.normal(jax.random.key(2), (4, 3, 2)) if conditional else None
    variables = with_random_parameters(net, dim, condition)
    noise = jax.random.normal(jax.random.key(3), (4, dim))
    order = jax.random.permutation(jax.random.key(4), dim) if ordered else None

    def values(outputs, index):
        return jnp.tanh(outputs[:, 0]) + jax.nn.sigmoid(outputs[:, 1]) * noise[:, index]

    @jax.jit
    def both(variables):
        in_turn = range(dim) if order is None else order
        x = jnp.zeros((4, dim))
        for i in in_turn:
            x = x.at[:, i].set(values(net.apply(variables, x, condition, order)[:, :, i], i))
        cache, step = net.decoder(variables["params"], 4, dim, condition, order)
        steps, last = jnp.zeros((4, dim)), jnp.full(4, jnp.nan)  # the first step ignores it
        for i in in_turn:
            outputs, cache = step(cache, last)
            last = values(outputs, i)
            steps = steps.at[:, i].set(last)
        return steps, x

    np.testing.assert_allclose(*both(variables), atol=1e-5)


def test_initial_weights_keep_the_variance_although_most_are_masked():
    net = MaskedMLP((100, 100), activation=lambda x: x)
    run = jax.jit(net.init_with_output)
    outputs, _ = run(jax.random.key(0), jax.random.normal(jax.random.key(1), (500, 6)))
    assert np.std(outputs[:, 0, 1:]) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"features": ()},
            r"features is \(\), but must be of length 1 or more; give for example features=\(128, 128\)",
        ),
        ({"features": (4, 0)}, r"features is \(4, 0\), but must be .* at least 1, and 0 is not; give for example"),
        ({"features": (4,), "num_outputs": 0}, "num_outputs is 0, but must be at least 1"),
    ],
)
def test_refuses_empty_layers(fields, message):
    with pytest.raises(ValueError, match=message):
        MaskedMLP(**fields)


def test_refuses_residual_layers_of_several_widths():
    with pytest.raises(ValueError, match=r"features is \(4, 6\), but residual layers must all have the same width"):
        MaskedMLP((4, 6), residual=True)


def test_refuses_images():
    with pytest.raises(ValueError, match=r"MaskedMLP got shape \(2, 4, 4, 1\), but takes vectors \(B, D\); flatten"):
        jax.eval_shape(MaskedMLP((4,)).init, jax.random.key(0), jnp.zeros((2, 4, 4, 1)))
