"""Sampling loops read their weights and caches in place: they copy, slice or transpose none as a whole."""

import jax
import jax.numpy as jnp
import pytest

from genjax import autoregressive
from tests.compiled import compiled, copies_in_loops

# Weights of at least 512 numbers, and caches and activations of fewer; at most 12 random numbers.
WIDE = {
    "wavenet": autoregressive.wavenet(shape=(4,), num_values=32, num_layers=3, features=24, skip_features=24),
    "pixel_cnn": autoregressive.pixel_cnn(shape=(4, 3), num_layers=2, features=24, reach=1),
    "gated_pixel_cnn": autoregressive.gated_pixel_cnn(shape=(4, 3), num_layers=2, features=24, reach=1),
    "row_lstm": autoregressive.pixel_rnn(shape=(4, 3), kind="row", num_layers=2, features=16, reach=1),
    "diagonal_bilstm": autoregressive.pixel_rnn(shape=(4, 3), kind="diagonal", num_layers=2, features=16, reach=1),
    "made": autoregressive.MADE(shape=(4, 3), features=(48, 48)),
}

# Caches of at least 512 numbers of 16 samples, and activations of fewer; at most 256 random numbers. Not the diagonal
# BiLSTM, where a fusion reads one column of a row of another layout: its text has a copy of the row that is never made.
LONG = {
    "wavenet": autoregressive.wavenet(shape=(4,), num_values=4, num_layers=4, features=4, skip_features=4),
    "pixel_cnn": autoregressive.pixel_cnn(shape=(2, 8), num_layers=2, features=4, reach=2),
    "gated_pixel_cnn": autoregressive.gated_pixel_cnn(shape=(2, 8), num_layers=2, features=4, reach=2),
    "row_lstm": autoregressive.pixel_rnn(shape=(2, 8), kind="row", num_layers=2, features=4, reach=2),
}


def sampler(model, num_samples):
    """Return the compiled function that draws samples."""
    variables = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((1, *model.shape), jnp.int32)})
    return compiled(lambda variables, key: model.sample(variables, key, num_samples), variables, jax.random.key(0))


@pytest.mark.parametrize("name", WIDE)
def test_no_weight_is_copied(name):
    assert copies_in_loops(sampler(WIDE[name], 1), at_least=512) == []


@pytest.mark.parametrize("name", LONG)
def test_no_cache_is_copied_from_pixel_to_pixel(name):
    assert copies_in_loops(sampler(LONG[name], 16), at_least=512, branches=False) == []  # a branch begins a row
