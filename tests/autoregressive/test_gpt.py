"""GPT: masses, causality, cached decoding, prompts, stop tokens, and errors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive
from tests.autoregressive.frequencies import p_value
from tests.compiled import compiled, copies_in_loops

KINDS = [{}, {"positions": "rotary", "qk_norm": True, "use_bias": False}, {"tied": False, "remat": True}]
DRAWS = 20_000

small = functools.partial(
    autoregressive.GPT, num_values=3, length=5, num_layers=2, num_heads=2, features=8, activation=jax.nn.gelu
)


def randomized(model, scale=0.4):
    """Return variables with every parameter far from its initial value."""
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, model.length), jnp.int32)})
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: a + scale * jnp.float32(rng.normal(size=a.shape)), variables)


def everything(num_values, length):
    return jnp.array(list(itertools.product(range(num_values), repeat=length)), jnp.int32)


@pytest.mark.parametrize("options", KINDS, ids=["learned", "rotary", "untied"])
def test_masses_sum_to_one_and_samples_have_them(options):
    model = small(**options)
    variables, x = randomized(model), everything(3, 5)
    mass = np.exp(np.asarray(jax.jit(model.log_prob)(variables, x), np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    samples = np.asarray(jax.jit(lambda v, k: model.sample(v, k, DRAWS))(variables, jax.random.key(1)))
    assert p_value(np.bincount(samples @ 3 ** np.arange(4, -1, -1), minlength=3**5), mass) > 1e-4


def test_sequences_that_end_have_masses_that_sum_to_one():
    """Tokens after the stop token are padding in samples, and are not scored."""
    model = small(stop_token=2)
    variables, x = randomized(model), everything(3, 5)
    log_prob = jax.jit(model.log_prob)(variables, x)
    ends = np.argmax(np.concatenate([np.asarray(x) == 2, np.ones((len(x), 1))], axis=1), axis=1)
    filled = np.where(np.arange(5) > ends[:, None], 2, x)
    np.testing.assert_array_equal(log_prob, jax.jit(model.log_prob)(variables, jnp.asarray(filled)))
    own = (filled == np.asarray(x)).all(axis=1)
    mass = np.where(own, np.exp(np.asarray(log_prob, np.float64)), 0)
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    samples = np.asarray(jax.jit(lambda v, k: model.sample(v, k, DRAWS))(variables, jax.random.key(1)))
    assert p_value(np.bincount(samples @ 3 ** np.arange(4, -1, -1), minlength=3**5), mass) > 1e-4


@pytest.mark.parametrize("options", KINDS, ids=["learned", "rotary", "untied"])
def test_a_token_depends_on_all_those_before_it_and_no_other(options):
    model = small(num_values=6, length=7, **options)
    variables = randomized(model)
    x = jax.random.randint(jax.random.key(2), (30, 7), 0, 6)

    @functools.partial(jax.jit)
    def each(x):
        return model._token_log_probs(variables.params["net"], x)

    before = each(x)
    for position in range(7):
        after = each(x.at[:, position].set((x[:, position] + 1) % 6))
        changed = np.abs(after - before).max(axis=0) > 0
        assert not changed[:position].any()
        assert changed[position:].all()


@pytest.mark.parametrize("options", KINDS, ids=["learned", "rotary", "untied"])
def test_cached_steps_are_the_whole_network(options):
    model = small(num_values=7, length=6, **options)
    variables = randomized(model)
    x = jax.random.randint(jax.random.key(2), (4, 6), 0, 7)

    @functools.partial(jax.jit)
    def both(params):
        cache, step = model._decoder(params, 4)
        cache = cache.grow(6)
        before = jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        _, logits = jax.lax.scan(lambda cache, token: step(cache, token)[::-1], cache, before.T)
        log_prob = jax.nn.log_softmax(logits.swapaxes(0, 1))
        return model._token_log_probs(params, x), jnp.take_along_axis(log_prob, x[..., None], axis=-1)[..., 0]

    whole, stepped = both(variables.params["net"])
    assert np.abs(whole).max() > 1
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", KINDS, ids=["learned", "rotary", "untied"])
def test_a_prompt_is_read_at_once_as_steps_would_read_it(options):
    model = small(num_values=7, length=6, **options)
    params = randomized(model).params["net"]
    x = jax.random.randint(jax.random.key(2), (4, 5), 0, 7)

    @jax.jit
    def both(params):
        empty, step = model._decoder(params, 4)
        before = jnp.concatenate([jnp.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
        stepped, _ = jax.lax.scan(lambda cache, token: step(cache, token)[::-1], empty.grow(5), before.T)
        return model._read(params, x, jnp.int32(5)), stepped

    read, stepped = both(params)
    assert max(np.abs(a).max() for a in jax.tree.leaves(stepped)) > 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), read, stepped)


def continuations(model, variables, prompts, penalty):
    """Return prompts, each followed by its most probable tokens according to the whole network."""
    rows = []
    for prompt in prompts:
        row = [int(token) for token in prompt if token >= 0]
        if model.stop_token in row:
            row = row[: row.index(model.stop_token) + 1]
        while len(row) < model.length and model.stop_token not in row:
            x = jnp.array([row + [0] * (model.length - len(row))])
            logits = np.asarray(model.logits(variables, x))[0, len(row)]
            lower = np.where(logits > 0, logits / penalty, logits * penalty)
            row.append(int(np.argmax(np.where(np.isin(np.arange(len(logits)), row), lower, logits))))
        rows.append(row + [model.stop_token] * (model.length - len(row)))
    return np.array(rows)


def test_continuations_of_prompts_are_those_of_the_whole_network(monkeypatch):
    """Prompts have unequal lengths, one contains the stop token, and the cache grows through several sizes."""
    monkeypatch.setattr("genjax.autoregressive.decoding.MIN_CACHE_SIZE", 2)
    model = small(num_values=9, length=12, stop_token=8)
    variables, calls = randomized(model), []
    prompts = jnp.array([[1, 2, 3, 4], [5, 6, 7, -1], [2, 8, 3, 3], [7, 7, -1, -1]])

    def draw(variables):
        settings = {"temperature": 0, "repetition_penalty": 1.5}
        return model.sample(
            variables, jax.random.key(1), 4, prompt=prompts, callback=lambda *call: calls.append(call), **settings
        )

    x = np.asarray(jax.jit(draw)(variables))
    jax.effects_barrier()
    np.testing.assert_array_equal(x, continuations(model, variables, np.asarray(prompts), 1.5))
    assert len(np.unique(x)) > 4
    assert [int(number) for number, _ in calls] == list(range(1, len(calls) + 1))
    np.testing.assert_array_equal(np.stack([tokens for _, tokens in calls], axis=1), x[:, : len(calls)])


def test_prompts_of_unequal_length_are_each_completed_from_their_own_distribution():
    model = small(length=3)
    variables, x = randomized(model), everything(3, 3)
    prompt = jnp.array([[1, -1], [2, 0]])
    rows = jnp.tile(prompt, (DRAWS, 1))
    draw = jax.jit(lambda v, k, prompt: model.sample(v, k, len(rows), prompt=prompt))
    samples = np.asarray(draw(variables, jax.random.key(1), rows)).reshape(DRAWS, 2, 3)
    mass = np.exp(np.asarray(model.log_prob(variables, x), np.float64)).reshape(3, 3, 3)
    first, second = (samples[:, i] @ np.array([9, 3, 1]) for i in range(2))
    assert p_value(np.bincount(first - 9, minlength=9), mass[1].ravel() / mass[1].sum()) > 1e-4
    assert p_value(np.bincount(second - 18, minlength=3), mass[2, 0] / mass[2, 0].sum()) > 1e-4


def test_loss_is_per_token_that_counts():
    model = small(stop_token=2)
    variables = randomized(model)
    x = jnp.array([[0, 1, 2, 0, 0], [0, 0, 1, 0, 1]])
    loss, (_, metrics) = model.loss(*variables, jax.random.key(0), {"x": x}, jnp.int32(0))
    log_prob = model.log_prob(variables, x)
    np.testing.assert_allclose(loss, -log_prob.sum() / 8, rtol=1e-6)
    np.testing.assert_allclose(metrics["log_prob"], log_prob.mean(), rtol=1e-6)


def test_training_leaves_channels_out_and_nothing_else_does():
    model = small(dropout=0.5)
    variables, x = randomized(model), jnp.zeros((2, 5), jnp.int32)
    some, others = (model.loss(*variables, jax.random.key(i), {"x": x}, jnp.int32(0))[0] for i in range(2))
    assert some != others
    without = small().loss(*variables, jax.random.key(0), {"x": x}, jnp.int32(0))[0]
    np.testing.assert_allclose(without, -model.log_prob(variables, x).mean() / 5, rtol=1e-6)


def test_half_precision_is_near():
    x = jax.random.randint(jax.random.key(2), (4, 5), 0, 3)
    variables = randomized(small(), 0.2)
    exact, near = (small(dtype=dtype).log_prob(variables, x) for dtype in (None, jnp.bfloat16))
    assert near.dtype == jnp.float32
    np.testing.assert_allclose(near, exact, atol=0.1)
    samples = small(dtype=jnp.bfloat16).sample(variables, jax.random.key(0), 3)
    assert samples.shape == (3, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_values": 0}, "num_values is 0, but must be at least 1"),
        ({"num_heads": 3}, "features is 8, but num_heads=3 and positions='learned' need a multiple of 3"),
        ({"num_heads": 8, "positions": "rotary"}, "need a multiple of 16"),
        ({"positions": "none"}, "positions is 'none', but must be 'learned' or 'rotary'"),
        ({"dropout": 1.0}, r"dropout is 1.0, but must be in \[0, 1\)"),
        ({"stop_token": 3}, "stop_token is 3, but must be a token, 0 … 2; None for no end"),
    ],
)
def test_refuses_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.zeros((2, 6), jnp.int32), "x has 6 tokens, but the model has length=5; cut it into windows"),
        (jnp.full((2, 5), 3), "x is 3 at .*, but num_values=3 allows 0 … 2"),
        (jnp.full((2, 5), -1), "x is -1 at .*, but num_values=3 allows 0 … 2"),
        (jnp.zeros((2, 5)), r"x has dtype float32 and shape \(2, 5\), but must be integers \(B, T\)"),
    ],
)
def test_refuses_other_sequences(x, message):
    with pytest.raises(ValueError, match=message):
        small().init(jax.random.key(0), {"x": x})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": jnp.zeros(6, jnp.int32)}, "prompt has 6 tokens, but sequences have length=5; shorten it"),
        ({"prompt": jnp.array([7])}, "prompt is 7 at .*, but num_values=3 allows 0 … 2"),
        ({"prompt": jnp.zeros(2)}, r"prompt has dtype float32 and shape \(1, 2\), but must be integers"),
        ({"prompt": jnp.zeros((2, 2), jnp.int32)}, r"must be integers \(P,\) or \(3, P\)"),
        ({"num_tokens": 0}, "num_tokens is 0, but must be at least 1"),
        ({"num_tokens": 7, "prompt": jnp.zeros(6, jnp.int32)}, "prompt has 6 tokens, but sequences have length=5"),
        ({"temperature": -1.0}, "temperature is -1.0, but must be at least 0; 0 takes the most probable token"),
        ({"repetition_penalty": 0.5}, "repetition_penalty is 0.5, but must be at least 1; 1 applies no penalty"),
    ],
)
def test_refuses_other_requests(arguments, message):
    model = small()
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 5), jnp.int32)})
    with pytest.raises(ValueError, match=message):
        model.sample(variables, jax.random.key(0), 3, **arguments)


def test_texts_longer_than_the_context_continue_from_its_second_half():
    model = small()
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 5), jnp.int32)})
    variables = jax.tree.map(lambda p: 5 * p, variables)  # far from uniform
    options = {"temperature": 0.0}
    x = jax.jit(lambda key: model.sample(variables, key, 2, num_tokens=12, prompt=jnp.array([1]), **options))(
        jax.random.key(1)
    )
    expected = model.sample(variables, jax.random.key(2), 2, prompt=jnp.array([1]), **options)
    while expected.shape[1] < 12:
        window = model.sample(variables, jax.random.key(2), 2, prompt=expected[:, -2:], **options)
        expected = jnp.concatenate([expected, window[:, 2:]], axis=1)
    assert x.shape == (2, 12)
    np.testing.assert_array_equal(x, expected[:, :12])


def test_every_token_of_a_long_text_is_streamed_once():
    model = small(stop_token=None)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 5), jnp.int32)})
    calls = []
    draw = jax.jit(
        lambda key: model.sample(variables, key, 2, num_tokens=12, callback=lambda *call: calls.append(call))
    )
    for seed in range(2):  # the second time, the compiled program calls
        calls.clear()
        x = draw(jax.device_put(jax.random.key(seed), jax.devices()[0]))
        jax.effects_barrier()
        assert [int(number) for number, _ in calls] == list(range(1, 13))
        np.testing.assert_array_equal(np.stack([tokens for _, tokens in calls], axis=1), x)


def test_sequences_that_ended_stay_ended_in_long_texts():
    model = small(stop_token=0)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 5), jnp.int32)})
    x = np.asarray(model.sample(variables, jax.random.key(1), 50, num_tokens=20))
    after_stop = np.cumsum(x == 0, axis=1) > 0
    assert np.all(x[after_stop] == 0)
    assert not np.all(x[:, 5] == 0)


def test_the_sampling_loop_copies_neither_weights_nor_caches():
    model = small(num_values=40, length=48, features=32)
    variables = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((1, 48), jnp.int32)})
    program = compiled(lambda v, key: model.sample(v, key, 3), variables, jax.random.key(0))
    assert copies_in_loops(program, at_least=32 * 32) == []


@pytest.mark.parametrize("stop_token", [None, 2])
def test_pieces_are_those_of_a_sample_drawn_at_once(stop_token):
    model = small(length=7, stop_token=stop_token)
    variables = randomized(model)
    prompt, options = jnp.array([[1], [0]]), {"temperature": 0.7, "repetition_penalty": 1.5}
    whole = jax.jit(lambda key: model.sample(variables, key, 2, prompt=prompt, **options))
    extend = jax.jit(lambda key, x: model.extend(variables, key, x, num_new=4, **options))
    for seed in range(4):
        x, expected = jnp.pad(prompt, ((0, 0), (0, 6)), constant_values=-1), np.asarray(whole(jax.random.key(seed)))
        for drawn in (5, 7):
            x = extend(jax.random.key(seed), x)
            np.testing.assert_array_equal(x, np.where(np.arange(7) < drawn, expected, -1))


def test_pieces_begin_at_the_end_of_the_shortest_prompt():
    model = small()
    variables = randomized(model)
    prompt = jnp.array([[1, 2, 0, 1], [2, -1, -1, -1]])
    x = np.asarray(model.extend(variables, jax.random.key(0), prompt, num_new=2))
    np.testing.assert_array_equal(x[0, :4], [1, 2, 0, 1])
    assert (x[1, :3] >= 0).all()
    assert (x[0, 4], *x[1, 3:]) == (-1, -1, -1)
    with pytest.raises(ValueError, match="num_new is 0, but must be at least 1"):
        model.extend(variables, jax.random.key(0), prompt, num_new=0)
