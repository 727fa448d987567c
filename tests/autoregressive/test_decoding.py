"""Sampling of tokens: requested probabilities, known tokens, stop tokens and penalties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import autoregressive
from genjax.autoregressive import Sampling, generate

LOGITS = jnp.array([2.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("settings", "probs"),
    [
        ({}, [0.6285, 0.2312, 0.1402]),
        ({"temperature": 0.5}, [0.8438, 0.1142, 0.0420]),
        ({"temperature": 0.0}, [1, 0, 0]),
        ({"temperature": 1e-30}, [1, 0, 0]),
        ({"top_k": 2}, [0.7311, 0.2689, 0]),
        ({"top_k": 9}, [0.6285, 0.2312, 0.1402]),
        ({"top_p": 0.6}, [1, 0, 0]),
        ({"top_p": 0.63}, [0.7311, 0.2689, 0]),
        ({"min_p": 0.3}, [0.7311, 0.2689, 0]),  # exp(1 - 2) = 0.368, exp(0.5 - 2) = 0.223
        ({"min_p": 1.0}, [1, 0, 0]),
        ({"temperature": 2.0, "min_p": 0.5}, [0.6225, 0.3775, 0]),  # after the temperature: 0.607, 0.472
    ],
)
def test_probabilities_and_frequencies(settings, probs):
    sampling = Sampling(**settings)
    np.testing.assert_allclose(jnp.exp(sampling.log_probs(LOGITS)), probs, atol=1e-4)
    uniform = jax.random.uniform(jax.random.key(0), (100_000,))
    tokens = sampling.draw(jnp.broadcast_to(LOGITS, (100_000, 3)), uniform)
    frequencies = np.bincount(tokens, minlength=3) / 100_000
    probs = np.array(probs)
    assert (np.abs(frequencies - probs) <= 3 * np.sqrt(probs * (1 - probs) / 100_000) + 1e-4).all()
    assert (frequencies[probs == 0] == 0).all()


@pytest.mark.parametrize(
    ("settings", "probs"),
    [
        ({"top_k": 2}, [0, 1 / 2, 1 / 2, 0, 0]),
        ({"top_p": 0.1}, [0, 1, 0, 0, 0]),
        ({"top_p": 0.5}, [0, 1 / 2, 1 / 2, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [0, 1 / 2, 1 / 2, 0, 0]),
        ({"min_p": 1.0}, [0, 1 / 3, 1 / 3, 1 / 3, 0]),
    ],
)
def test_of_ties_the_least_set_stays(settings, probs):
    logits = jnp.array([0.0, 1.0, 1.0, 1.0, 0.0])  # each 1 has a probability of 0.268
    log_probs = Sampling(**settings).log_probs(jnp.stack([logits, -logits]))
    np.testing.assert_allclose(jnp.exp(log_probs[0]), probs, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.1}])
def test_no_token_is_drawn_from_logits_that_are_not_finite(settings):
    undefined = jnp.array(
        [[0.0, jnp.nan, 0.0], [jnp.nan] * 3, [0.0, jnp.inf, 0.0], [-jnp.inf] * 3, [0.0, -jnp.inf, 1.0]]
    )
    tokens = Sampling(**settings).draw(undefined, jnp.full(5, 0.99))
    assert (tokens[:4] == -1).all()
    assert tokens[4] == 2


def test_sequences_from_logits_of_nan_are_refused():
    def step(index, token):
        return jnp.where(index < 2, jnp.zeros((2, 3)), jnp.nan), index + 1

    settings = {"batch_size": 2, "length": 4}
    compiled = jax.jit(lambda: generate(step, jnp.int32(0), jax.random.key(0), **settings))()
    assert ((compiled >= 0) == jnp.array([[True, True, False, False]])).all()
    with pytest.raises(ValueError, match=r"a token is -1 at \(0, 2\), but its logits are NaN or infinite; the param"):
        generate(step, jnp.int32(0), jax.random.key(0), **settings)


def test_no_impossible_token_is_drawn_at_the_ends_of_the_uniform_numbers():
    logits = jnp.array([-jnp.inf, 0.0, -jnp.inf, 1.0, -jnp.inf])
    uniform = jnp.array([0.0, 0.99999994])
    assert Sampling().draw(jnp.stack([logits, logits]), uniform).tolist() == [1, 3]


def counting(cache, token):
    """A Markov chain of three states with a uniform start; it stays with probability one half."""
    index, total = cache
    stay = jnp.log(0.25) + jnp.log(2.0) * jax.nn.one_hot(token, 3)
    return jnp.where(index == 0, 0.0, stay), (index + 1, total + token)


def run(**settings):
    settings = {"batch_size": 2_000, "length": 5} | settings
    return generate(
        counting, (jnp.int32(0), jnp.zeros(settings["batch_size"], jnp.int32)), jax.random.key(0), **settings
    )


def test_a_chain_has_its_transition_probabilities():
    tokens = np.asarray(jax.jit(run)())
    assert tokens.shape == (2_000, 5)
    assert tokens.dtype == np.int32
    stays = (tokens[:, 1:] == tokens[:, :-1]).sum()
    assert stats.binomtest(int(stays), 8_000, 0.5).pvalue > 1e-3
    assert stats.chisquare(np.bincount(tokens[:, 0])).pvalue > 1e-3


def test_known_tokens_stay_and_what_follows_depends_on_them():
    keep = jnp.array([True, False, True, False, False])
    tokens = np.asarray(run(known=jnp.full((1, 5), 2), keep=keep))
    assert (tokens[:, [0, 2]] == 2).all()
    assert stats.binomtest(int((tokens[:, 1] == 2).sum()), 2_000, 0.5).pvalue > 1e-3
    own = jnp.arange(2_000)[:, None] % 3 * jnp.ones((1, 5), jnp.int32)
    assert (run(known=own, keep=jnp.broadcast_to(keep, (2_000, 5)))[:, 2] == own[:, 2]).all()


def test_known_tokens_may_end_early():
    keep = jnp.array([False, True])
    tokens = run(known=jnp.full((1, 2), 2), keep=keep)
    padded = run(known=jnp.full((1, 5), 2), keep=jnp.pad(keep, (0, 3)))
    np.testing.assert_array_equal(tokens, padded)


def test_a_callback_sees_every_token_in_order():
    calls = []
    tokens = jax.jit(
        lambda: run(batch_size=3, callback=lambda number, newest: calls.append((int(number), newest.tolist())))
    )()
    jax.block_until_ready(tokens)
    jax.effects_barrier()
    assert calls == [(i + 1, column.tolist()) for i, column in enumerate(np.asarray(tokens).T)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0, but must be at least 0; 0 takes the most probable token"),
        ({"top_k": 0}, "top_k is 0, but must be at least 1; None allows all tokens"),
        ({"top_p": 0.0}, r"top_p is 0.0, but must be in \(0, 1\]; 1 allows all tokens"),
        ({"top_p": 1.5}, r"top_p is 1.5, but must be in \(0, 1\]"),
        ({"min_p": -0.1}, r"min_p is -0.1, but must be in \[0, 1\]; 0 allows all tokens"),
    ],
)
def test_refuses_settings_beyond_their_limits(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"known": jnp.zeros((1, 5), jnp.int32)}, "known is set, but keep is None; pass both, or neither"),
        ({"keep": jnp.ones(5, bool)}, "keep is set, but known is None"),
        ({"known": jnp.zeros((3, 5), jnp.int32), "keep": jnp.ones(5, bool)}, r"shape \(3, 5\), but must be integers"),
        ({"known": jnp.zeros((1, 6), jnp.int32), "keep": jnp.ones(6, bool)}, "known has 6 tokens, but .* length=5"),
        ({"known": jnp.zeros((1, 5)), "keep": jnp.ones(5, bool)}, "known has dtype float32"),
        ({"known": jnp.zeros((1, 5), jnp.int32), "keep": jnp.ones(4, bool)}, r"shape \(4,\), but must be bool \(5,\)"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
    ],
)
def test_refuses_invalid_known_tokens(settings, message):
    with pytest.raises(ValueError, match=message):
        run(**settings)


def test_sequences_are_filled_up_after_their_end_and_drawing_ends_with_the_last():
    steps = []

    def watch(number, tokens):
        steps.append((int(number), tokens.tolist()))

    def step(cache, token):
        """Row 0 draws 1, 1, 2, and row 1 draws the stop token 2 first."""
        target = jnp.where(cache >= jnp.array([2, 0]), 2, 1)
        return 1e3 * jax.nn.one_hot(target, 3), cache + 1

    tokens = generate(step, jnp.int32(0), jax.random.key(0), batch_size=2, length=6, stop_token=2, callback=watch)
    jax.effects_barrier()
    assert tokens.tolist() == [[1, 1, 2, 2, 2, 2], [2] * 6]
    assert [number for number, _ in steps] == [1, 2, 3]


def test_repetition_penalty_lowers_what_is_there_already():
    sampling = Sampling(repetition_penalty=2.0)
    present = jnp.array([True, True, False])
    assert sampling.penalize(jnp.array([3.0, -1.0, 2.0]), present).tolist() == [1.5, -2.0, 2.0]

    def step(cache, token):
        return jnp.broadcast_to(jnp.array([3.0, 2.0, 1.6]), (1, 3)), cache

    tokens = generate(step, (), jax.random.key(0), batch_size=1, length=4, sampling=Sampling(temperature=0.0))
    assert tokens.tolist() == [[0, 0, 0, 0]]
    penalized = Sampling(temperature=0.0, repetition_penalty=2.0)
    tokens = generate(step, (), jax.random.key(0), batch_size=1, length=4, sampling=penalized)
    assert tokens.tolist() == [[0, 1, 2, 0]]


IMAGE = {"shape": (4, 4, 1), "num_values": 3, "features": 4}


@pytest.mark.parametrize(
    "model",
    [
        autoregressive.MADE(shape=(4,), num_values=3, features=(8,)),
        autoregressive.pixel_cnn(**IMAGE, num_layers=1, embedding_dim=2),
        autoregressive.gated_pixel_cnn(**IMAGE, num_layers=1),
        autoregressive.pixel_cnn_pp(**IMAGE, num_resolutions=2, num_blocks=1, num_components=2),
        autoregressive.pixel_rnn(**IMAGE, kind="row", num_layers=1),
        autoregressive.pixel_rnn(**IMAGE, kind="diagonal", num_layers=1),
        autoregressive.wavenet(shape=(6,), num_values=3, num_layers=2, features=4),
        autoregressive.GPT(num_values=3, length=6, num_layers=1, num_heads=1, features=4),
    ],
    ids=lambda model: type(getattr(model, "net", model)).__name__,
)
def test_draws_where_jax_has_64_bits(model):
    shape = (6,) if isinstance(model, autoregressive.GPT) else model.shape

    def draw(key):
        init_key, sample_key = jax.random.split(key)
        variables = model.init(init_key, {"x": jnp.zeros((1, *shape), jnp.int32)})
        return variables, model.sample(variables, sample_key, 2)

    with jax.enable_x64(True):
        variables, x = jax.eval_shape(draw, jax.random.key(0))
    assert x.dtype == jnp.int32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
