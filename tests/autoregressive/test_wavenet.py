"""WaveNet: its equations and receptive field, masses that sum to one, and cached decoding."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from genjax import Variables, autoregressive, ops
from genjax.autoregressive import wavenet
from genjax.data import ArraySource
from genjax.evaluation.likelihood import Scorer
from genjax.sharding import Placement
from tests.autoregressive.frequencies import p_value

DRAWS = 20_000


def small(**options):
    settings = {"shape": (5,), "num_values": 3, "num_layers": 2, "num_stacks": 1, "features": 3, "skip_features": 4}
    return wavenet(**settings | options)


def randomized(model, scale=0.7):
    """Return variables far from their initial values, biases included."""
    x = jnp.zeros((1, *model.shape), jnp.int32)
    batch = {"x": x, "label": jnp.zeros(1, jnp.int32), "local": jnp.zeros((1, 1, model.local_dim or 1))}
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    return jax.tree.map(lambda a: jnp.float32(scale * rng.normal(size=a.shape)), shapes)


def everything(model):
    """Return all sequences, ordered as numbers."""
    return jnp.array(list(itertools.product(range(model.num_values), repeat=model.shape[0])), jnp.int32)


def numbers(model, x):
    return np.asarray(x) @ model.num_values ** np.arange(model.shape[0] - 1, -1, -1)


@pytest.mark.parametrize(
    ("options", "condition"),
    [
        ({}, {}),
        ({"num_stacks": 2, "num_classes": 2, "embedding_dim": 2}, {"label": 1}),
        ({"shape": (6,), "num_values": 2, "local_dim": 2, "num_classes": 2}, {"label": 0, "local": "3 frames"}),
        ({"num_components": 2}, {}),
    ],
    ids=["unconditional", "by class", "local", "mixture"],
)
def test_masses_sum_to_one_and_samples_have_them(options, condition):
    model = small(**options)
    variables, x = randomized(model), everything(model)
    if "local" in condition:
        condition = condition | {"local": jax.random.normal(jax.random.key(2), (1, 3, 2))}
    log_prob = jax.jit(lambda v: model.log_prob(v, x, **condition))(variables)
    mass = np.exp(np.asarray(log_prob, np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, **condition))
    count = np.bincount(numbers(model, draw(variables, jax.random.key(1))), minlength=len(x))
    assert p_value(count, mass) > 1e-4


def test_a_prompt_is_continued_by_what_it_makes_probable():
    model = small()
    variables, x = randomized(model), everything(model)
    known, keep = jnp.array([[2, 0, 1, 0, 0]], jnp.int32), jnp.arange(5) < 3
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, known=known, keep=keep))
    samples = draw(variables, jax.random.key(1))
    assert (samples[:, :3] == known[:, :3]).all()
    continues = np.asarray((x[:, :3] == known[:, :3]).all(axis=1))
    log_prob = jax.jit(model.log_prob)(variables, x)
    mass = np.exp(np.asarray(log_prob, np.float64)) * continues
    assert p_value(np.bincount(numbers(model, samples), minlength=len(x)), mass / mass.sum()) > 1e-4


@pytest.mark.parametrize(("num_layers", "num_stacks"), [(3, 2), (2, 3), (1, 1)])
def test_outputs_see_the_receptive_field_and_nothing_else(num_layers, num_stacks):
    """Outputs depend on earlier values, and on the frames within reach of the convolutions."""
    length, frames = 24, 8
    model = small(shape=(length,), num_layers=num_layers, num_stacks=num_stacks, features=4, local_dim=1)
    field = 1 + num_stacks * (2**num_layers - 1)
    assert model.net.receptive_field == field < length
    params, rng = randomized(model).params["net"], np.random.default_rng(1)
    x, local = jnp.float32(rng.random((20, length))), jnp.float32(rng.normal(size=(20, frames)))

    def outputs(x, local):
        return model.net.apply({"params": params}, x[None, :, None], local[None, :, None])[0, :, 1]

    jacobians = jax.jit(jax.vmap(jax.jacrev(outputs, argnums=(0, 1))))(x, local)
    of_x, of_local = (np.abs(a).max(axis=0) for a in jacobians)
    ago = np.arange(length)[:, None] - np.arange(length)[None]
    assert ((of_x > 0) == ((ago >= 1) & (ago <= field))).all()
    frames_seen = (ago >= 0) & (ago <= field - 2)  # the layers after the first, whose dilation is 1
    assert ((of_local > 0) == frames_seen.reshape(length, frames, -1).any(axis=2)).all()


def test_outputs_are_the_equations():
    """Compare with a loop over positions in float64."""
    length, n = 12, 2
    model = small(shape=(length,), num_stacks=2, features=n, num_classes=2, local_dim=1)
    rng = np.random.default_rng(2)
    x, local = rng.random(length), rng.normal(size=(1, 4, 1))
    c = np.concatenate([local, np.broadcast_to([0.0, 1.0], (1, 4, 2))], axis=-1)
    params = randomized(model).params["net"]
    results = model.net.apply({"params": params}, jnp.float32(x)[None, :, None], jnp.float32(c))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

    def dense(layer, a):
        return a @ layer["kernel"] + layer.get("bias", 0.0)

    h = [dense(p["first"], np.array([0.0 if t == 0 else x[t - 1]])) for t in range(length)]
    total = np.zeros((length, model.net.skip_features))
    for i, d in enumerate((1, 2, 1, 2)):
        layer, after = p[f"layer_{i}"], []
        for t in range(length):
            past = h[t - d] if t >= d else np.zeros(n)
            both = dense(layer["taps"], np.concatenate([past, h[t]])) + dense(layer["condition"], c[0, t // 3])
            g = np.tanh(both[:n]) * expit(both[n:])
            residual, skip = np.split(dense(layer["outputs"], g), [0 if i == 3 else n])
            total[t] += skip
            after.append(h[t] + residual if i < 3 else h[t])
        h = after
    outputs = dense(p["outputs"], np.maximum(dense(p["head"], np.maximum(total, 0)), 0))
    np.testing.assert_allclose(results[0], outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 4},
        {"num_layers": 1, "num_classes": 2},
        {"num_stacks": 3, "embedding_dim": 3, "local_dim": 2},
        {"num_components": 2, "num_classes": 2, "local_dim": 1},
        {"shape": (1,)},
        {"num_layers": 6, "shape": (70,)},
    ],
    ids=str,
)
def test_cached_outputs_are_those_of_the_whole_network(options):
    model = small(**{"shape": (24,), "num_values": 7} | options)
    (length,) = model.shape
    x = jax.random.randint(jax.random.key(2), (6, length), 0, 7)
    variables = randomized(model, 0.4)
    local = None if model.local_dim is None else jax.random.normal(jax.random.key(3), (6, 8, model.local_dim))
    condition = model._condition(None if model.num_classes is None else jnp.arange(6) % 2, local, 6)

    @functools.partial(jax.jit)
    def both(params):
        values = params["embedding"][x] if "embedding" in params else x.astype(jnp.float32)[..., None] / 6
        whole = model.net.apply({"params": params["net"]}, values, *condition)
        cache, step = model.net.decoder(params["net"], 6, model.shape, *(condition or (None,)))
        before = jnp.concatenate([jnp.full_like(values[:, :1], jnp.nan), values[:, :-1]], axis=1)
        _, stepped = jax.lax.scan(lambda cache, value: step(cache, value)[::-1], cache, before.swapaxes(0, 1))
        return whole, stepped.swapaxes(0, 1)

    whole, stepped = both(variables.params)
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)


def test_rings_are_not_copied_while_a_sequence_is_drawn():
    """If a step copied the caches, its cost would grow with their size."""
    model = small(shape=(64,), num_layers=5)
    draw = jax.jit(lambda v, k: model.sample(v, k, 2)).lower(randomized(model), jax.random.key(0)).compile()
    rings = [f"f32[{d + 1},2,3]" for d in model.net.dilations]
    assert all(ring in draw.as_text() for ring in rings)
    copied = [line for line in draw.as_text().splitlines() if " copy(" in line and any(r in line for r in rings)]
    assert copied == []


def test_what_was_learned_serves_sequences_of_any_length():
    model = small(shape=(6,), local_dim=1)
    longer, variables = dataclasses.replace(model, shape=(600,)), randomized(model)
    log_prob = jax.jit(lambda v, x, local: longer.log_prob(v, x, local=local))
    local = jax.random.normal(jax.random.key(1), (2, 100, 1))
    x = longer.sample(variables, jax.random.key(2), 2, local=local)
    assert x.shape == (2, 600)
    assert len(np.unique(x[:, 300:])) == 3
    # The last value depends only on the receptive field, for which sequences of six values suffice.
    other = x.at[:, -1].set((x[:, -1] + 1) % 3)
    of_longer = log_prob(variables, x, local) - log_prob(variables, other, local)
    short_log_prob = jax.jit(lambda v, x: model.log_prob(v, x[:, -6:], local=local[:, -1:]))
    of_shorter = short_log_prob(variables, x) - short_log_prob(variables, other)
    np.testing.assert_allclose(of_longer, of_shorter, rtol=1e-3, atol=1e-3)
    assert np.abs(of_shorter).min() > 0.01


def test_a_mixture_scores_sixteen_bits_without_a_logit_for_each():
    model = small(shape=(1,), num_values=2**16, num_components=2)
    variables, values = randomized(model), jnp.arange(2**16)[:, None]
    mass = np.exp(np.asarray(jax.jit(model.log_prob)(variables, values), np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    program = str(jax.make_jaxpr(model.log_prob)(variables, jnp.zeros((2, 1), jnp.int32)))
    assert "65535" in program
    assert "65536" not in program


def test_training_leaves_channels_out_and_nothing_else_does():
    x = jnp.zeros((2, 5), jnp.int32)
    variables = randomized(small())

    @functools.partial(jax.jit, static_argnums=0)
    def loss(model, key):
        return model.loss(*variables, key, {"x": x}, jnp.int32(0))[0]

    some, others = (loss(small(dropout=0.5), jax.random.key(i)) for i in range(2))
    assert some != others
    log_prob = jax.jit(small(dropout=0.5).log_prob)(variables, x)
    np.testing.assert_allclose(loss(small(), jax.random.key(0)), -log_prob.mean(), rtol=1e-6)


def test_half_precision_is_near():
    x = everything(small())[::8]

    def loss(params, dtype):
        return -small(dtype=dtype).log_prob(Variables(params, {}), x).mean()

    params = randomized(small(), scale=0.3).params
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    for exact, near in zip(*(jax.tree.leaves(run(params, dtype)) for dtype in (None, jnp.bfloat16)), strict=True):
        np.testing.assert_allclose(near, exact, rtol=0.2, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0, but must be at least 1"),
        ({"num_stacks": 0}, "num_stacks is 0, but must be at least 1"),
        ({"features": 0}, "features is 0, but must be at least 1"),
        ({"skip_features": 0}, "skip_features is 0, but must be at least 1"),
        ({"dropout": 1.0}, r"dropout is 1.0, but must be in \[0, 1\)"),
        ({"num_values": 1}, "num_values is 1, but must be at least 2"),
        ({"num_components": 0}, "num_components is 0, but must be at least 1"),
        ({"local_dim": 0}, "local_dim is 0, but must be at least 1; None for no local condition"),
        ({"shape": (4, 4)}, r"shape is \(4, 4\), but must be \(T,\) for sequences"),
        ({"shape": (0,)}, r"shape is \(0,\), but must be .* at least 1, and 0 is not"),
    ],
)
def test_refuses_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_refuses_local_conditions_of_images():
    net = autoregressive.PixelCNNNet(num_outputs=2, num_layers=1, features=2, reach=1)
    with pytest.raises(ValueError, match=r"local_dim is 3, but shape=\(2, 2\) is not that of a sequence, \(T,\)"):
        autoregressive.CausalModel(shape=(2, 2), net=net, distribution=ops.Categorical(2), local_dim=3)


@pytest.mark.parametrize(
    ("options", "local", "message"),
    [
        ({}, (1, 1, 1), "local is given, but this model has local_dim=None; leave it out or set local_dim"),
        ({"local_dim": 2}, None, r"local is None, but this model has local_dim=2; give floats \(3, F, 2\)"),
        ({"local_dim": 2}, (3, 5, 1), r"local has shape \(3, 5, 1\), but must be floats \(3, F, 2\)"),
        ({"local_dim": 2}, (2, 5, 2), r"local has shape \(2, 5, 2\), but must be floats \(3, F, 2\)"),
        ({"local_dim": 2}, (3, 2, 2), "local has 2 frames, but their number must divide the length 5; resample them"),
    ],
)
def test_refuses_local_conditions_that_do_not_fit(options, local, message):
    model, local = small(**options), None if local is None else jnp.zeros(local)
    with pytest.raises(ValueError, match=message):
        model.sample(Variables({}, {}), jax.random.key(0), 3, local=local)
    with pytest.raises(ValueError, match=message):
        model.log_prob(Variables({}, {}), jnp.zeros((3, 5), jnp.int32), local=local)


def test_asks_for_the_local_condition_of_a_batch():
    with pytest.raises(ValueError, match=r"the batch has \['x'\], but local_dim=2 needs 'local'; add it"):
        small(local_dim=2).init(jax.random.key(0), {"x": jnp.zeros((1, 5), jnp.int32)})


def test_a_split_is_scored_with_its_local_conditions():
    model = small(local_dim=2, num_classes=2)
    x, label = jax.random.randint(jax.random.key(0), (3, 5), 0, 3), jnp.arange(3) % 2
    local, variables = jax.random.normal(jax.random.key(1), (3, 5, 2)), randomized(model)
    source = ArraySource({name: np.asarray(a) for name, a in {"x": x, "label": label, "local": local}.items()})
    scorer = Scorer(model, "log_prob", preprocess=lambda key, batch: batch, placement=Placement(), batch_size=2)
    exact = model.log_prob(variables, x, label=label, local=local)
    np.testing.assert_allclose(scorer(variables, jax.random.key(2), source), exact, rtol=1e-5)
