"""PixelCNN, gated PixelCNN and PixelCNN++: masses, receptive fields, and cached decoding."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive, ops
from tests.autoregressive.frequencies import p_value

DRAWS = 20_000

plain = functools.partial(autoregressive.pixel_cnn, shape=(3, 3, 1), num_layers=2, features=4, reach=1)
gated = functools.partial(autoregressive.gated_pixel_cnn, shape=(3, 3, 1), num_layers=3, features=4, reach=1)
plus_plus = functools.partial(
    autoregressive.pixel_cnn_pp,
    shape=(2, 4, 1),
    num_values=2,
    num_resolutions=2,
    num_blocks=1,
    features=4,
    num_components=2,
    dropout=0.2,
)


def randomized(model, x, scale=0.7):
    """Return variables with every parameter far from its initial value."""
    batch = {"x": x, "label": jnp.zeros(len(x), jnp.int32)}
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + scale * jnp.float32(rng.normal(size=a.shape)), variables.params)
    return variables._replace(params=params)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (plain, {}),
        (plain, {"num_classes": 2}),
        (plain, {"shape": (3, 3), "embedding_dim": 2}),
        (gated, {}),
        (gated, {"num_classes": 2}),
        (plus_plus, {}),
        (plus_plus, {"shape": (2, 2, 2), "num_classes": 2}),
    ],
    ids=["plain", "by class", "codes", "gated", "gated by class", "plus plus", "plus plus in colour by class"],
)
def test_masses_sum_to_one_and_samples_have_them(make, options):
    model = make(**options)
    size = int(np.prod(model.shape))
    everything = jnp.array(list(itertools.product(range(2), repeat=size)), jnp.int32).reshape(-1, *model.shape)
    variables, label = randomized(model, everything, 0.4), {} if model.num_classes is None else {"label": 1}
    log_prob = jax.jit(lambda v: model.log_prob(v, everything, **label))(variables)
    mass = np.exp(np.asarray(log_prob, np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, **label))
    x = np.asarray(draw(variables, jax.random.key(1))).reshape(DRAWS, size)
    count = np.bincount(x @ 2 ** np.arange(size - 1, -1, -1), minlength=2**size)
    assert p_value(count, mass) > 1e-4


def receptive_field_of_pixel_cnn(height, width, num_layers, reach):
    """Return which outputs depend on which pixels, (HW, HW), from paths through the convolutions of equation 1."""

    def sees(reach, itself):
        return np.array(
            [
                (i - reach <= a < i and abs(b - j) <= reach) or (a == i and j - reach <= b < j + itself)
                for i, j, a, b in itertools.product(range(height), range(width), range(height), range(width))
            ]
        ).reshape(height * width, -1)

    return np.linalg.matrix_power(sees(1, True).astype(int), num_layers) @ sees(reach, False) > 0


@pytest.mark.parametrize(
    ("model", "receptive_field"),
    [
        (gated(shape=(5, 6, 1), num_layers=6, reach=1), None),
        (gated(shape=(6, 4, 1), num_layers=6, reach=2), None),
        (plus_plus(shape=(4, 6, 1), num_blocks=2), None),
        (plus_plus(shape=(8, 4, 2), num_resolutions=3), None),
        (plain(shape=(5, 6, 1), num_layers=6, reach=1), receptive_field_of_pixel_cnn(5, 6, 6, 1)),
        (plain(shape=(5, 6, 1), num_layers=2, reach=2), receptive_field_of_pixel_cnn(5, 6, 2, 2)),
    ],
    ids=["gated", "gated wide", "plus plus", "plus plus deep", "plain", "plain shallow"],
)
def test_what_a_pixel_sees(model, receptive_field):
    """A pixel sees all earlier pixels and no later one; masked convolutions have a blind spot above to the right."""
    height, width, _ = model.shape
    x = jnp.float32(np.random.default_rng(1).random((20, *model.shape)))
    variables = randomized(model, jnp.zeros((1, *model.shape), jnp.int32), 0.4)

    def outputs(x):
        return model.net.apply({"params": variables.params["net"]}, x[None])[0, :, :, 1]

    jacobians = jax.jit(jax.vmap(jax.jacrev(outputs)))(x)
    gradients = np.abs(jacobians).max(axis=(0, -1)).reshape(height * width, height * width)
    before = np.tri(height * width, k=-1, dtype=bool)
    if receptive_field is None:
        receptive_field = before
    else:
        assert (receptive_field & ~before).sum() == 0
        blind = before & ~receptive_field
        assert blind[2 * width, 5]  # from the first pixel of a row, far to the right two rows above
    assert (gradients[~receptive_field] == 0).all()
    assert (gradients[receptive_field] > 0).all()


@pytest.mark.parametrize(
    "model",
    [
        plain(shape=(4, 5, 1), num_values=7, reach=2),
        plain(shape=(4, 5, 1), num_values=7, num_classes=2),
        plain(shape=(5, 3), num_values=7, embedding_dim=5),
        gated(shape=(4, 5, 1), num_values=7),
        gated(shape=(4, 5, 1), num_values=7, reach=3, num_classes=2),
        gated(shape=(4, 5), num_values=7, embedding_dim=3),
        plus_plus(shape=(4, 6, 1), num_values=7, num_blocks=2),
        plus_plus(shape=(8, 4, 3), num_values=7, num_resolutions=3, num_classes=2),
        plus_plus(shape=(3, 5, 2), num_values=7, num_resolutions=1),
    ],
    ids=lambda model: f"{type(model.net).__name__}{model.shape}",
)
def test_cached_outputs_are_those_of_the_whole_network(model):
    height, width = model.shape[:2]
    x = jax.random.randint(jax.random.key(2), (6, *model.shape), 0, 7)
    variables = randomized(model, x, 0.1)
    condition = () if model.num_classes is None else (jax.nn.one_hot(jnp.arange(6) % 2, 2),)

    @functools.partial(jax.jit)
    def both(params):
        values = x.astype(jnp.float32) / 6 if model.embedding_dim is None else params["embedding"][x]
        whole = model.net.apply({"params": params["net"]}, values, *condition)
        cache, step = model.net.decoder(params["net"], 6, (height, width), *(condition or (None,)))
        pixels = values.reshape(6, height * width, -1)
        before = jnp.concatenate([jnp.full_like(pixels[:, :1], jnp.nan), pixels[:, :-1]], axis=1)
        _, stepped = jax.lax.scan(lambda cache, pixel: step(cache, pixel)[::-1], cache, before.swapaxes(0, 1))
        return whole.reshape(6, height * width, -1), stepped.swapaxes(0, 1)

    whole, stepped = both(variables.params)
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [plain, gated, plus_plus])
def test_an_image_is_completed_from_its_top(make):
    model = make(shape=(4, 4, 1))
    known = jax.random.randint(jax.random.key(4), (1, 4, 4, 1), 0, 2)
    variables = randomized(model, known)
    keep = jnp.broadcast_to((jnp.arange(4) < 2)[:, None, None], (4, 4, 1))
    x = np.asarray(model.sample(variables, jax.random.key(3), 50, known=known, keep=keep))
    assert (x[:, :2] == known[:, :2]).all()
    assert x[:, 2:].std() > 0


@pytest.mark.parametrize("make", [plain, gated, plus_plus])
def test_imputations_are_samples_with_known_values(make):
    model = make(shape=(2, 2, 1))
    x = jax.random.randint(jax.random.key(4), (5, 2, 2, 1), 0, 2)
    variables, key = randomized(model, x), lambda: jax.random.key(3)
    mask = jnp.array([True, False])[:, None, None]
    expected = model.sample(variables, key(), 5, known=x, keep=jnp.broadcast_to(mask, (2, 2, 1)))
    np.testing.assert_array_equal(model.impute(variables, key(), jnp.where(mask[None], x, 99), mask), expected)


def test_channels_are_completed_from_others():
    model = plus_plus(shape=(2, 2, 3), num_values=9)
    known = jax.random.randint(jax.random.key(4), (1, 2, 2, 3), 0, 9)
    variables = randomized(model, known, 0.1)
    keep = jnp.broadcast_to(jnp.array([True, False, True])[None, None], (2, 2, 3))
    x = np.asarray(model.sample(variables, jax.random.key(3), 50, known=known, keep=keep))
    assert (x[..., ::2] == known[..., ::2]).all()
    assert x[..., 1].std(axis=0).min() > 0


@pytest.mark.parametrize("make", [plain, gated, plus_plus])
def test_training_leaves_channels_out_and_nothing_else_does(make):
    shape = (2, 4, 1)
    x = jnp.zeros((2, *shape), jnp.int32)
    variables = randomized(make(shape=shape), x, 0.3)

    @functools.partial(jax.jit, static_argnums=0)
    def loss(model, key):
        return model.loss(*variables, key, {"x": x}, jnp.int32(0))[0]

    some, others = (loss(make(shape=shape, dropout=0.5), jax.random.key(i)) for i in range(2))
    assert some != others
    log_prob = jax.jit(make(shape=shape, dropout=0.5).log_prob)(variables, x)
    np.testing.assert_allclose(loss(make(shape=shape, dropout=0.0), jax.random.key(0)), -log_prob.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (gated, {"shape": (3, 3, 3)}, "a pixel has 3 channels, but Categorical takes one"),
        (gated, {"shape": (3,)}, r"shape is \(3,\), but must be \(H, W, C\) for images, or \(H, W\) for grids"),
        (gated, {"dropout": -0.1}, r"dropout is -0.1, but must be in \[0, 1\)"),
        (gated, {"num_layers": 0}, "num_layers is 0, but must be at least 1"),
        (plain, {"num_layers": 0}, "num_layers is 0, but must be at least 1"),
        (plain, {"reach": 0}, "reach is 0, but must be at least 1"),
        (gated, {"num_values": 1}, "num_values is 1, but must be at least 2"),
        (gated, {"num_classes": 0}, "num_classes is 0, but must be at least 1"),
        (gated, {"embedding_dim": 0}, "embedding_dim is 0, but must be at least 1"),
        (plus_plus, {"num_blocks": 0}, "num_blocks is 0, but must be at least 1"),
        (plus_plus, {"dropout": 1.0}, r"dropout is 1.0, but must be in \[0, 1\)"),
        (plus_plus, {"shape": (6, 6, 3), "num_resolutions": 3}, "height and width divisible by 4"),
    ],
)
def test_refuses_models_that_cannot_be(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_refuses_a_network_that_does_not_fit_its_distribution():
    net = autoregressive.PixelCNNNet(num_outputs=3, num_layers=1, features=2, reach=1)
    with pytest.raises(ValueError, match=r"net has num_outputs=3, but Categorical\(num_values=4\) needs 4"):
        autoregressive.CausalModel(shape=(2, 2, 1), net=net, distribution=ops.Categorical(4))


def test_refuses_values_out_of_range():
    with pytest.raises(ValueError, match=r"x is 2 at .*, but num_values=2 allows 0 … 1"):
        gated().init(jax.random.key(0), {"x": jnp.full((1, 3, 3, 1), 2)})
