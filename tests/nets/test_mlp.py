import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import MLP


def test_flattens_its_input_and_shapes_its_output():
    net = MLP((7,), output_shape=(4, 2, 3))
    y, variables = net.init_with_output(jax.random.key(0), jnp.zeros((5, 4, 4, 1)))
    assert y.shape == (5, 4, 2, 3)
    assert variables["params"]["Dense_0"]["kernel"].shape == (16, 7)
    assert variables["params"]["Dense_1"]["kernel"].shape == (7, 24)


def test_the_last_layer_is_linear_and_the_others_are_not():
    x = jnp.array([[1.0, -2.0], [0.5, 3.0]])

    def curvature(net):
        def run(x):
            return net.apply(variables, x)

        variables = net.init(jax.random.key(0), x)
        return jnp.abs(run(2 * x) - 2 * run(x) + run(0 * x)).max()

    assert curvature(MLP((3,))) < 1e-6
    assert curvature(MLP((8, 3))) > 1e-2


def test_a_condition_joins_the_flattened_input():
    net = MLP((4, 3))
    x, condition = jnp.arange(6.0).reshape(1, 2, 3), jnp.array([[10.0, -20.0]])
    joined = jnp.concatenate([x.reshape(1, 6), condition], axis=1)
    variables = net.init(jax.random.key(0), x, condition)
    np.testing.assert_array_equal(net.apply(variables, x, condition), net.apply(variables, joined))


def test_half_precision_computes_but_does_not_store():
    x = jax.random.normal(jax.random.key(1), (4, 8))
    y, variables = MLP((16, 3), dtype=jnp.bfloat16).init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(y.astype(jnp.float32), MLP((16, 3)).apply(variables, x), atol=0.05)


def test_is_a_value():
    assert MLP((8, 3)) == MLP((8, 3))
    assert hash(MLP((8, 3))) == hash(MLP((8, 3)))
    assert MLP((8, 3)) != MLP((8, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ()}, "needs at least one layer; give it for example"),
        ({"features": (8, 0)}, r"features is \(8, 0\), but must be .* at least 1, and 0 is not"),
        ({"features": (), "output_shape": (0,)}, r"output_shape is \(0,\), but must be .* at least 1, and 0 is not"),
    ],
)
def test_refuses_impossible_sizes(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP(**arguments)
