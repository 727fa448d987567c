"""Causal convolutions: a masked kernel, and the same result pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import CausalConv, CausalConvCache


@pytest.mark.parametrize("include_center", [False, True])
@pytest.mark.parametrize("reach", [1, 2])
def test_is_a_masked_convolution_and_the_same_pixel_by_pixel(reach, include_center):
    rng = np.random.default_rng(0)
    x = jnp.float32(rng.normal(size=(2, 4, 5, 3)))
    conv = CausalConv(6, reach, include_center=include_center)
    params = jax.tree.map(lambda a: jnp.float32(rng.normal(size=a.shape)), conv.init(jax.random.key(0), x)["params"])
    whole = conv.apply({"params": params}, x)

    kernel = np.zeros((2 * reach + 1, 2 * reach + 1, 3, 6), np.float32)
    kernel[:reach] = params["above"]["kernel"]
    kernel[reach, : reach + include_center] = params["left"]["kernel"][0]
    masked = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(whole, masked + params["bias"][None, None, None], rtol=1e-4, atol=1e-4)

    cache = CausalConvCache.start(params, 2, 5)
    for i in range(4):
        cache = cache.next_row(params)
        for j in range(5):
            seen_before = cache.outputs(params, jnp.int32(j))
            cache = cache.put(x[:, i, j], jnp.int32(j))
            outputs = cache.outputs(params, jnp.int32(j)) if include_center else seen_before
            np.testing.assert_allclose(outputs, whole[:, i, j], rtol=1e-4, atol=1e-4)
