"""PixelRNN: its equations and receptive fields, and cached decoding."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from genjax import Variables
from genjax.autoregressive import pixel_rnn
from tests.autoregressive.frequencies import p_value

EVERYTHING = jnp.array(list(itertools.product(range(2), repeat=9)), jnp.int32).reshape(-1, 3, 3, 1)
DRAWS = 20_000
KINDS = pytest.mark.parametrize("kind", ["row", "diagonal"])


def small(**options):
    settings = {"shape": (3, 3, 1), "num_layers": 2, "features": 3, "head_features": 5, "reach": 1}
    return pixel_rnn(**settings | options)


def randomized(model, scale=0.7):
    """Return variables far from their initial values, biases included."""
    batch = {"x": jnp.zeros((1, *model.shape), jnp.int32), "label": jnp.zeros(1, jnp.int32)}
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    return jax.tree.map(lambda a: jnp.float32(scale * rng.normal(size=a.shape)), shapes)


@KINDS
@pytest.mark.parametrize("num_classes", [None, 2], ids=["unconditional", "by class"])
def test_masses_sum_to_one_and_samples_have_them(kind, num_classes):
    model = small(kind=kind, num_classes=num_classes)
    variables, label = randomized(model), {} if num_classes is None else {"label": 1}
    log_prob = jax.jit(lambda v: model.log_prob(v, EVERYTHING, **label))(variables)
    mass = np.exp(np.asarray(log_prob, np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, **label))
    x = np.asarray(draw(variables, jax.random.key(1))).reshape(DRAWS, 9)
    count = np.bincount(x @ 2 ** np.arange(8, -1, -1), minlength=512)
    assert p_value(count, mass) > 1e-4


def receptive_field(kind, height, width, num_layers, reach):
    """Return whether outputs at (i, j) may depend on the pixel at (a, b), (H, W, H, W), by equation 3."""
    if kind == "diagonal":
        return np.tri(height * width, k=-1, dtype=bool).reshape(height, width, height, width)
    u = np.zeros((height, width, height, width), bool)
    for i, j, a, b in np.ndindex(u.shape):
        u[i, j, a, b] = i - reach <= a <= i and abs(b - j) <= reach and (a, b) < (i, j)
    for _ in range(num_layers):
        states = np.zeros_like(u)
        for i, j in np.ndindex(height, width):
            left = max(j - 1, 0)
            states[i, j] = u[i, left : j + 1].any(0) | (i > 0 and states[i - 1, left : j + 2].any(0))
        u |= states
    return u


@KINDS
@pytest.mark.parametrize(("height", "width", "reach"), [(5, 6, 1), (4, 7, 2)])
def test_a_pixel_sees_what_the_equations_say(kind, height, width, reach):
    """The Diagonal BiLSTM sees all earlier pixels, the Row LSTM a triangle of them; neither sees a later one."""
    model = small(shape=(height, width, 1), kind=kind, features=4, head_features=8, reach=reach)
    x = jnp.float32(np.random.default_rng(1).random((20, height, width, 1)))
    variables = randomized(model)

    def logits(x):
        return model.net.apply({"params": variables.params["net"]}, x[None])[0, :, :, 1]

    jacobians = jax.jit(jax.vmap(jax.jacrev(logits)))(x)
    depends = np.abs(jacobians).max(axis=0)[..., 0] > 0
    expected = receptive_field(kind, height, width, 2, reach)
    assert (depends == expected).all()


@KINDS
def test_logits_are_the_equations(kind):
    """Compare with a loop over pixels in float64."""
    height, width, n = 3, 4, 2
    model = small(shape=(height, width, 1), kind=kind, num_layers=1, features=n, num_classes=2)
    x = np.random.default_rng(2).integers(0, 2, (1, height, width, 1))
    params = randomized(model).params["net"]
    outputs = model.net.apply({"params": params}, jnp.float32(x), jnp.array([[0.0, 1.0]]))
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    layer = p["layer_0"]
    b = layer["input"]["bias"] + layer["condition"]["kernel"][1]

    def at(a, i, j):
        inside = 0 <= i < height and 0 <= j < width
        return a[i, j] if inside else np.zeros(a.shape[2])

    def lstm(a, cell):
        i, f, o, g = np.split(a, 4)
        cell = expit(f + 1) * cell + expit(i) * np.tanh(g)
        return expit(o) * np.tanh(cell), cell

    places = list(np.ndindex(height, width))
    pixels, first = x[0].astype(float), np.concatenate([p["first"]["above"]["kernel"], np.zeros((1, 3, 1, 2 * n))])
    first[1, :1] = p["first"]["left"]["kernel"][0]
    u = np.zeros((height, width, 2 * n))
    for i, j in places:
        before = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
        u[i, j] = p["first"]["bias"] + sum(at(pixels, i + a, j + c) @ first[1 + a, 1 + c] for a, c in before)
    h, c, other, other_c = (np.zeros((height, width, n)) for _ in range(4))
    K, U = layer["input"]["kernel"], layer["state"]
    for i, j in places:
        if kind == "row":
            a = at(u, i, j - 1) @ K[0, 0] + u[i, j] @ K[0, 1] + b
            a = a + np.concatenate([at(h, i - 1, j + k) for k in (-1, 0, 1)]) @ U
            h[i, j], c[i, j] = lstm(a, at(c, i - 1, j))
        else:
            a = np.split(u[i, j] @ K + b, 2)[0] + np.concatenate([at(h, i, j - 1), at(h, i - 1, j)]) @ U[0]
            h[i, j], c[i, j] = lstm(a, at(c, i, j - 1))
            k = width - 1 - j
            a = np.split(u[i, k] @ K + b, 2)[1] + pixels[i, k] @ layer["pixel"]["kernel"]
            a = a + np.concatenate([at(other, i, k + 1), at(other, i - 1, k)]) @ U[1]
            other[i, k], other_c[i, k] = lstm(a, at(other_c, i, k + 1))
    for i, j in places:
        total = h[i, j] + at(other, i - 1, j)
        u[i, j] += total @ p["residual_0"]["kernel"] + p["residual_0"]["bias"]
    for name in ("head_0", "head_1", "logits"):
        u = np.maximum(u, 0) @ p[name]["kernel"] + p[name]["bias"]
    np.testing.assert_allclose(outputs[0], u, rtol=1e-5, atol=1e-5)


@KINDS
def test_a_row_or_a_diagonal_is_one_step(kind):
    model = small(shape=(5, 6, 1), kind=kind)
    x = jnp.zeros((1, 5, 6, 1))
    variables = jax.eval_shape(model.net.init, jax.random.key(0), x)
    program = str(jax.make_jaxpr(model.net.apply)(variables, x))
    assert re.findall(r" length=(\d+)", program) == [{"row": "5", "diagonal": "10"}[kind]] * 2


@KINDS
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 5, 1), {"num_classes": 2}),
        ((5, 3, 1), {"reach": 3}),
        ((1, 4, 1), {"num_layers": 3}),
        ((3, 1, 1), {}),
        ((3, 4), {"embedding_dim": 5, "reach": 2}),
    ],
    ids=str,
)
def test_cached_logits_are_those_of_the_whole_network(kind, shape, options):
    model = small(shape=shape, kind=kind, num_values=7, **options)
    x = jax.random.randint(jax.random.key(2), (6, *shape), 0, 7)
    variables = randomized(model)
    condition = (jax.nn.one_hot(jnp.arange(6) % 2, 2),) if "num_classes" in options else ()

    @jax.jit
    def both(params):
        values = params["embedding"][x] if "embedding" in params else x.astype(jnp.float32) / 6
        whole = model.net.apply({"params": params["net"]}, values, *condition)
        cache, step = model.net.decoder(params["net"], 6, shape[:2], *(condition or (None,)))
        values = values.reshape(6, -1, values.shape[-1])
        before = jnp.concatenate([jnp.full_like(values[:, :1], jnp.nan), values[:, :-1]], axis=1)
        _, stepped = jax.lax.scan(lambda cache, value: step(cache, value)[::-1], cache, before.swapaxes(0, 1))
        return whole.reshape(6, -1, 7), stepped.swapaxes(0, 1)

    whole, stepped = both(variables.params)
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)


@KINDS
def test_half_precision_is_near(kind):
    def loss(params, dtype):
        return -small(kind=kind, dtype=dtype).log_prob(Variables(params, {}), EVERYTHING[::8]).mean()

    params = randomized(small(kind=kind), scale=0.3).params
    run = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    for exact, near in zip(*(jax.tree.leaves(run(params, dtype)) for dtype in (None, jnp.bfloat16)), strict=True):
        np.testing.assert_allclose(near, exact, rtol=0.2, atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "column"}, "kind is 'column', but must be 'row' or 'diagonal'"),
        ({"num_layers": 0}, "num_layers is 0, but must be at least 1"),
        ({"features": 0}, "features is 0, but must be at least 1"),
        ({"head_features": 0}, "head_features is 0, but must be at least 1"),
        ({"dropout": 1.5}, r"dropout is 1.5, but must be in \[0, 1\)"),
        ({"reach": 0}, "reach is 0, but must be at least 1"),
        ({"num_values": 1}, "num_values is 1, but must be at least 2"),
        ({"num_classes": 0}, "num_classes is 0, but must be at least 1"),
        ({"embedding_dim": 0}, "embedding_dim is 0, but must be at least 1"),
        ({"shape": (3, 3, 3)}, "a pixel has 3 channels, but Categorical takes one"),
    ],
)
def test_refuses_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
