"""Gated PixelCNN: every pixel sees all those before it and no other, and cached steps compute the same."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive
from tests.autoregressive.frequencies import p_value

QUICK = {"xla_backend_optimization_level": 0}  # programs run but a few times: compiling them is what takes time
EVERYTHING = jnp.array(list(itertools.product(range(2), repeat=9)), jnp.int32).reshape(-1, 3, 3, 1)
DRAWS = 20_000


def small(**options):
    settings = {"shape": (3, 3, 1), "num_layers": 3, "features": 4, "reach": 1}
    return autoregressive.gated_pixel_cnn(**settings | options)


def moved(model, x):
    """Variables with every parameter far from where ``init`` leaves it."""
    batch = {"x": x, "label": jnp.zeros(len(x), jnp.int32)}
    variables = jax.jit(model.init, compiler_options=QUICK)(jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + 0.7 * jnp.float32(rng.normal(size=a.shape)), variables.params)
    return variables._replace(params=params)


@pytest.mark.parametrize("num_classes", [None, 2], ids=["unconditional", "by class"])
def test_masses_sum_to_one_and_samples_have_them(num_classes):
    model = small(num_classes=num_classes)
    variables, label = moved(model, EVERYTHING), {} if num_classes is None else {"label": 1}
    log_prob = jax.jit(lambda v: model.log_prob(v, EVERYTHING, **label), compiler_options=QUICK)(variables)
    mass = np.exp(np.asarray(log_prob, np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, **label), compiler_options=QUICK)
    x = np.asarray(draw(variables, jax.random.key(1))).reshape(DRAWS, 9)
    count = np.bincount(x @ 2 ** np.arange(8, -1, -1), minlength=512)
    assert p_value(count, mass) > 1e-4


@pytest.mark.parametrize(("height", "width", "reach"), [(5, 6, 1), (6, 4, 2)])
def test_a_pixel_sees_all_pixels_before_it_and_no_other(height, width, reach):
    """Above to the right as well, where masked convolutions have their blind spot."""
    model = small(shape=(height, width, 1), num_layers=6, reach=reach)
    x = jnp.float32(np.random.default_rng(1).random((20, height, width, 1)))
    variables = moved(model, jnp.zeros((1, height, width, 1), jnp.int32))

    def logits(x):
        return model.net.apply({"params": variables.params["net"]}, x[None])[0, :, :, 1]

    jacobians = jax.jit(jax.vmap(jax.jacrev(logits)), compiler_options=QUICK)(x)
    reached = np.abs(jacobians).max(axis=0).reshape(height * width, height * width)
    allowed = np.tri(height * width, k=-1, dtype=bool)
    assert (reached[~allowed] == 0).all()
    assert (reached[allowed] > 0).all()


@pytest.mark.parametrize("reach", [1, 3])
@pytest.mark.parametrize("num_classes", [None, 2], ids=["unconditional", "by class"])
def test_cached_logits_are_those_of_the_whole_network(reach, num_classes):
    model = small(shape=(4, 5, 1), levels=7, reach=reach, num_classes=num_classes)
    x = jax.random.randint(jax.random.key(2), (6, 4, 5, 1), 0, 7)
    variables = moved(model, x)
    context = () if num_classes is None else (jax.nn.one_hot(jnp.arange(6) % 2, 2),)

    @jax.jit
    def both(params):
        values = x.astype(jnp.float32) / 6
        whole = model.net.apply({"params": params}, values, *context)
        cache, step = model.net.decoder(params, 6, (4, 5), *(context or (None,)))
        before = jnp.concatenate([jnp.full((6, 1), jnp.nan), values.reshape(6, -1)[:, :-1]], axis=1)
        _, stepped = jax.lax.scan(lambda cache, value: step(cache, value)[::-1], cache, before.T[..., None])
        return whole.reshape(6, 20, 7), stepped.swapaxes(0, 1)

    whole, stepped = both(variables.params["net"])
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)


def test_an_image_is_completed_from_its_top():
    model = small()
    variables = moved(model, EVERYTHING)
    known = jnp.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], jnp.int32)[None, :, :, None]
    keep = jnp.broadcast_to(jnp.array([True, True, False])[:, None, None], (3, 3, 1))
    x = np.asarray(model.sample(variables, jax.random.key(3), 50, known=known, keep=keep))
    assert (x[:, :2] == known[:, :2]).all()
    assert x[:, 2].std() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (3, 3, 3)}, "a pixel has 3 channels, but Categorical takes one"),
        ({"shape": (3,)}, r"shape is \(3,\), but must be \(H, W, C\) of images, or \(H, W\) of grids"),
        ({"num_layers": 0}, "num_layers is 0, but must be at least 1"),
        ({"reach": 0}, "reach is 0, but must be at least 1"),
        ({"levels": 1}, "levels is 1, but must be at least 2"),
        ({"num_classes": 0}, "num_classes is 0, but must be at least 1"),
    ],
)
def test_refuses_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_refuses_values_beyond_the_levels():
    with pytest.raises(ValueError, match="x holds 2, but levels=2 takes 0 … 1"):
        small().init(jax.random.key(0), {"x": jnp.full((1, 3, 3, 1), 2)})
