"""Attention on CPUs equals that of jax.nn, and so do its gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.ops import attend_to_first, causal_attention, full_attention


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 3e-2)])
def test_is_that_of_jax(dtype, tolerance, is_causal):
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v = (3.0 * jax.random.normal(key, (2, 5, 3, 4)).astype(dtype) for key in keys[:3])
    weight = jax.random.normal(keys[3], (2, 5, 3, 4))

    def outputs_and_gradients(attention):
        def weighted(q, k, v):
            return jnp.sum(weight * attention(q, k, v))

        return attention(q, k, v), jax.grad(weighted, (0, 1, 2))(q, k, v)

    ours = jax.jit(lambda: outputs_and_gradients(causal_attention if is_causal else full_attention))()
    theirs = jax.jit(lambda: outputs_and_gradients(partial(jax.nn.dot_product_attention, is_causal=is_causal)))()
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == dtype
        scale = np.abs(np.asarray(b, np.float32)).max()
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), atol=tolerance * scale)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 3e-2)])
def test_one_query_attends_to_the_first_keys(dtype, tolerance):
    keys = jax.random.split(jax.random.key(0), 3)
    q = 3.0 * jax.random.normal(keys[0], (2, 1, 3, 4)).astype(dtype)
    k, v = (3.0 * jax.random.normal(key, (2, 5, 3, 4)).astype(dtype) for key in keys[1:])
    rows = [a.swapaxes(1, 2).reshape(6, 5, 4) for a in (k, v)]
    for length in (1, 3, 5):
        ours = attend_to_first(q, *rows, jnp.int32(length))
        theirs = jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=jnp.full(2, length, jnp.int32))
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.float32(ours), np.float32(theirs), atol=3 * tolerance * np.abs(v).max())


def test_great_logits_stay_finite():
    q = jnp.full((1, 3, 1, 2), 1e4)
    gradient = jax.grad(lambda q: jnp.sum(causal_attention(q, q, q)))(q)
    assert jnp.isfinite(causal_attention(q, q, q)).all() and jnp.isfinite(gradient).all()
