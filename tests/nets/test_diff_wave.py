"""DiffWave against its formula in NumPy, its reach and its patches."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import DiffWave, LevelEmbedding, apply_net
from genjax.nets.diff_wave import neighbours
from tests.nets.test_denoisers import start

LEVEL, LABEL = jnp.array([0.2, 0.7]), jnp.eye(2, 3)


def silu(x):
    return x / (1 + np.exp(-x))


def formula(params, x, embedded, *, features, dilations, patch_size):
    """Equations 1 and 2, position by position."""
    params = jax.tree.map(np.float64, params)
    patches = np.float64(x).reshape(len(x), -1, patch_size * (x.shape[2] if x.ndim == 3 else 1))
    length, e = patches.shape[1], silu(np.float64(embedded))

    def dense(name, h):
        return h @ name["kernel"] + name["bias"]

    h, total = np.maximum(0, dense(params["first"], patches)), 0
    for i, d in enumerate(dilations):
        layer = params[f"layer_{i}"]
        before, here, after = np.split(layer["taps"]["kernel"], 3)
        u = h + dense(layer["level"], e)[:, None]
        both = np.zeros((*h.shape[:2], 2 * features)) + layer["taps"]["bias"]
        for t in range(length):
            for at, kernel in ((t - d, before), (t, here), (t + d, after)):
                if 0 <= at < length:
                    both[:, t] += u[:, at] @ kernel
        g = np.tanh(both[..., :features]) / (1 + np.exp(-both[..., features:]))
        outputs = dense(layer["outputs"], g)
        h = (h + outputs[..., :features]) / np.sqrt(2)
        total = total + outputs[..., features:]
    hidden = np.maximum(0, dense(params["head"], np.maximum(0, total / np.sqrt(len(dilations)))))
    return dense(params["outputs"], hidden).reshape(x.shape)


@pytest.mark.parametrize("shape", [(2, 14), (2, 14, 3)])
def test_the_network_against_its_formula(shape):
    net = DiffWave(4, num_layers=3, num_stacks=2, patch_size=2)
    x = jax.random.normal(jax.random.key(0), shape)
    params = start(net, x, LEVEL, LABEL)
    embedded = LevelEmbedding(16).apply({"params": params["LevelEmbedding_0"]}, LEVEL, LABEL)
    assert net.dilations == (1, 2, 4, 1, 2, 4)  # of 7 positions, so that the longest reach beyond an end
    expected = formula(params, x, embedded, features=4, dilations=net.dilations, patch_size=2)
    outputs = jax.jit(functools.partial(apply_net, net))(params, {}, x, LEVEL, LABEL)[0]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_outputs_depend_on_the_receptive_field_and_on_nothing_else():
    net = DiffWave(4, num_layers=2, num_stacks=2, patch_size=2)
    x = jax.random.normal(jax.random.key(0), (1, 60))
    params = start(net, x, LEVEL[:1])
    assert net.receptive_field == 26  # 1 + 2 · (1 + 2 + 1 + 2) positions of 2 samples

    def output(x):
        return net.apply({"params": params}, x, LEVEL[:1])[0, 30]

    seen = np.flatnonzero(np.abs(jax.grad(output)(x)[0]) > 0)
    np.testing.assert_array_equal(seen, np.arange(30 - 12, 30 + 14))  # the patch 30, 31 and 6 on either side


def test_a_shift_by_whole_patches_shifts_outputs():
    net = DiffWave(4, num_layers=2, patch_size=4)
    x = jnp.zeros((1, 64)).at[0, 28:36].set(jnp.arange(8.0))
    params = start(net, x, LEVEL[:1])
    run = jax.jit(lambda x: net.apply({"params": params}, x, LEVEL[:1]))
    inner = slice(16, 48)  # away from the ends, whose zeros do not move
    np.testing.assert_allclose(run(jnp.roll(x, 4, axis=1))[0, inner], jnp.roll(run(x), 4, axis=1)[0, inner], atol=1e-5)
    assert not np.allclose(run(jnp.roll(x, 1, axis=1))[0, inner], jnp.roll(run(x), 1, axis=1)[0, inner], atol=1e-2)


def test_a_dilation_beyond_the_ends_sees_zeros():
    x = np.arange(1.0, 7.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(neighbours(jnp.asarray(x), 7)[0], np.pad(x[0], ((0, 0), (2, 2))))


def test_dropout_drops_in_training_alone():
    net = DiffWave(4, num_layers=1, dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (2, 6))
    params = start(net, x, LEVEL)
    run = functools.partial(apply_net, net, params, {}, x, LEVEL, key=jax.random.key(1))
    same, dropped = (run(train=train)[0] for train in (False, True))
    np.testing.assert_array_equal(same, apply_net(net, params, {}, x, LEVEL)[0])
    assert np.abs(dropped - same).max() > 1e-3


@pytest.mark.parametrize(
    ("patch_size", "shape", "message"),
    [
        (4, (2, 30), "DiffWave got waveforms of length 30, which is not a multiple of patch_size=4; pad them"),
        (1, (2, 8, 8, 1), "DiffWave got shape (2, 8, 8, 1), but takes waveforms (B, T) or (B, T, C); use a UNet"),
        (1, (2,), "DiffWave got shape (2,), but takes waveforms"),
    ],
)
def test_waveforms_that_do_not_fit_are_refused(patch_size, shape, message):
    net = DiffWave(4, num_layers=1, patch_size=patch_size)
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape), LEVEL)
