"""Self-attention over pixels against a softmax in numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from genjax.nets import SelfAttention2D, apply_net, init_net

X = jax.random.normal(jax.random.key(0), (2, 3, 4, 16))


def test_it_is_softmax_over_all_pixels_and_begins_as_the_identity():
    net = SelfAttention2D()
    params, state = init_net(net, jax.random.key(1), X)
    assert state == {}
    np.testing.assert_array_equal(apply_net(net, params, state, X)[0], X)

    params = params | {"gamma": jnp.float32(0.75)}
    y = apply_net(net, params, state, X)[0]
    x = np.float64(X).reshape(2, 12, 16)
    q, k, v = (x @ np.float64(params[name]["kernel"])[0, 0] for name in ("query", "key", "value"))
    weights = np.exp(np.einsum("bid,bjd->bij", q, k))
    attended = weights / weights.sum(-1, keepdims=True) @ v
    expected = x + 0.75 * attended @ np.float64(params["output"]["kernel"])[0, 0]
    np.testing.assert_allclose(y.reshape(2, 12, 16), expected, rtol=1e-4, atol=1e-5)
    assert q.shape[-1] == 2  # an eighth of the channels

    order = np.random.default_rng(0).permutation(12)
    shuffled = apply_net(net, params, state, X.reshape(2, 12, 16)[:, order].reshape(X.shape))[0]
    np.testing.assert_allclose(shuffled.reshape(2, 12, 16), y.reshape(2, 12, 16)[:, order], rtol=1e-5, atol=1e-5)


def test_gradients_reach_all_matrices_once_gamma_has_moved():
    net = SelfAttention2D(spectral=True)
    params, state = init_net(net, jax.random.key(2), X)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def gradient(params):
        gradients = jax.grad(lambda p: jnp.sum(jnp.sin(apply_net(net, p, state, X, train=True)[0])))(params)
        return {name: jnp.max(jnp.abs(jax.tree.leaves(g)[0])) for name, g in gradients.items()}

    assert {name for name, size in gradient(params).items() if size > 0} == {"gamma"}
    assert all(size > 1e-5 for size in gradient(params | {"gamma": jnp.float32(0.01)}).values())
