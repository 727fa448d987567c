"""Pix2Pix with linear networks, whose losses and gradients are known in closed form."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from genjax import capabilities, gan, nets
from genjax.capabilities import Condition, Diagnoses, Translates, supports
from genjax.core import Variables
from tests.networks import Function, Recorder

RNG = np.random.default_rng(0)
NUM, SIDES = 5, (2, 3)
X, Y = (RNG.uniform(size=(NUM, *SIDES, channels)).astype(np.float32) for channels in (2, 3))
U, V = 2 * X - 1, 2 * Y - 1  # what networks see
BATCH = {"x": jnp.asarray(X), "y": jnp.asarray(Y)}
W = RNG.normal(size=(3, 2)).astype(np.float32)
A, C = RNG.normal(size=2).astype(np.float32), RNG.normal(size=3).astype(np.float32)
X_HAT = V @ W
STEP = jnp.int32(0)


def translate(params, y):
    """A generator that maps the channels of each pixel linearly."""
    return y @ params["w"]


def judge(params, x, y):
    """A discriminator with one output per pixel, linear in x and y."""
    return (x @ params["a"] + y @ params["c"])[..., None]


GENERATOR, DISCRIMINATOR = Function(translate, {"w": W}), Function(judge, {"a": A, "c": C})


def model(**changes) -> gan.Pix2Pix:
    fields = {"generator": GENERATOR, "discriminator": DISCRIMINATOR}
    return gan.Pix2Pix(**(fields | changes))


def variables(**generator) -> Variables:
    params = {"generator": {"w": jnp.asarray(W)}, "discriminator": {"a": jnp.asarray(A), "c": jnp.asarray(C)}}
    return Variables(params, {"generator": {}, "discriminator": {}})


def losses(game, own, step=STEP):
    """Loss, metrics and gradient of each objective, by name."""
    results = {}
    for objective in game.objectives():
        (part,) = objective.wrt

        def loss(parameters, objective=objective, part=part):
            return objective.loss(own.params | {part: parameters}, own.state, jax.random.key(1), BATCH, step)

        (value, (_, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(own.params[part])
        results[objective.name] = (value, metrics, gradient)
    return results


def softplus(x):
    return np.logaddexp(0, x)


def outputs(x):
    return x @ A + V @ C


def test_both_losses_and_their_gradients_match_the_equations():
    results = losses(model(l1_weight=3.0), variables())
    r, f = outputs(U), outputs(X_HAT)
    value, metrics, gradient = results["discriminator"]
    expected = np.mean(softplus(-r)) + np.mean(softplus(f))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["divergence"]) == pytest.approx(np.log(2) - expected / 2, rel=1e-3)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(r > f))
    for name, real, fake in (("a", U, X_HAT), ("c", V, V)):
        by_hand = np.mean(-expit(-r)[..., None] * real + expit(f)[..., None] * fake, axis=(0, 1, 2))
        np.testing.assert_allclose(gradient[name], by_hand, rtol=1e-4, atol=1e-6)
    value, metrics, gradient = results["generator"]
    l1, adversarial = np.mean(np.abs(U - X_HAT)), np.mean(softplus(-f))
    assert float(metrics["l1"]) == pytest.approx(l1, rel=1e-5)
    assert float(metrics["adversarial"]) == pytest.approx(adversarial, rel=1e-5)
    assert float(value) == pytest.approx(adversarial + 3 * l1, rel=1e-5)
    of_outputs = (-expit(-f)[..., None] * A / f.size) + 3 * np.sign(X_HAT - U) / U.size
    np.testing.assert_allclose(gradient["w"], np.einsum("bhwc,bhwd->cd", V, of_outputs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [gan.LeastSquares(), gan.Hinge(), gan.Relativistic(), gan.RelativisticAverage()])
def test_an_adversarial_loss_sees_all_patches(loss):
    results = losses(model(adversarial_loss=loss), variables())
    r, f = (jnp.asarray(outputs(x).ravel()) for x in (U, X_HAT))
    assert float(results["discriminator"][0]) == pytest.approx(float(loss.discriminator(r, f)), rel=1e-5)
    assert float(results["generator"][1]["adversarial"]) == pytest.approx(float(loss.generator(r, f)), rel=1e-5)


def test_penalties_are_of_the_mean_output_as_a_function_of_x():
    """Here ∇D is a, divided by the number of pixels, at each pixel."""
    own, num_pixels = variables(), np.prod(SIDES)
    plain = float(losses(model(), own)["discriminator"][0])
    game = model(penalties=(gan.R1(weight=3.0, every=4),))
    for step, factor in ((0, 4), (1, 0)):
        value, metrics, _ = losses(game, own, step=jnp.int32(step))["discriminator"]
        expected = factor * 3 / 2 * np.sum(A**2) / num_pixels
        assert float(metrics["penalty"]) == pytest.approx(expected, rel=1e-5)
        assert float(value) == pytest.approx(plain + expected, rel=1e-5)


def test_penalties_know_data_from_translations():
    game = model(
        discriminator=Function(lambda params, x, y: params["s"] * jnp.sum(x**2, axis=-1, keepdims=True)),
        penalties=(gan.R1(weight=1.0, fake_weight=10.0),),
    )
    own = variables()
    own = own._replace(params=own.params | {"discriminator": {"s": jnp.float32(0.5)}})
    at = [np.mean(np.sum((x / np.prod(SIDES)) ** 2, axis=(1, 2, 3))) / 2 for x in (U, X_HAT)]
    penalty = losses(game, own)["discriminator"][1]["penalty"]
    assert float(penalty) == pytest.approx(at[0] + 10 * at[1], rel=1e-4)


def test_without_a_discriminator_the_distance_alone_is_minimized():
    game = model(discriminator=None)
    own = game.init(jax.random.key(0), BATCH)
    assert list(own.params) == ["generator"]
    assert not supports(game, Diagnoses)
    assert supports(model(), Diagnoses)
    own = Variables({"generator": {"w": jnp.asarray(W)}}, {"generator": {}})
    value, metrics, gradient = losses(game, own)["generator"]
    assert set(metrics) == {"l1"}
    assert float(value) == pytest.approx(100 * np.mean(np.abs(U - X_HAT)), rel=1e-5)
    by_hand = np.einsum("bhwc,bhwd->cd", V, 100 * np.sign(X_HAT - U) / U.size)
    np.testing.assert_allclose(gradient["w"], by_hand, rtol=1e-4)


def test_images_in_and_out_are_in_the_unit_interval():
    own, y = variables(), jnp.asarray(Y)
    expected = (X_HAT + 1) / 2
    np.testing.assert_allclose(model().translate(own, jax.random.key(1), y), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model().sample(own, jax.random.key(1), NUM, y=y), expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_the_noise_of_translations():
    game = model(generator=gan.UNetGenerator((4, 4), output_channels=2), discriminator=None)
    x, y = jax.random.uniform(jax.random.key(0), (3, 4, 4, 2)), jax.random.uniform(jax.random.key(1), (3, 4, 4, 3))
    own = game.init(jax.random.key(2), {"x": x, "y": y})
    draw = jax.jit(game.translate)
    one, again, other = (np.asarray(draw(own, jax.random.key(i), y)) for i in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max(axis=(1, 2, 3)).min() > 0
    assert ((one > 0) & (one < 1)).all()


@pytest.mark.parametrize("loss", ["discriminator_loss", "generator_loss"])
def test_networks_are_trained_and_only_the_own_state_moves(loss):
    networks = {"generator": Recorder(nets.MLP((2,))), "discriminator": Recorder(Function(lambda params, x, y: x))}
    game, batch = model(**networks, source_channels=2), {"x": jnp.zeros((4, 2)), "y": jnp.zeros((4, 2))}
    own = model(generator=nets.MLP((2,)), discriminator=None, source_channels=2).init(jax.random.key(0), batch)
    own = Variables(own.params | {"discriminator": {}}, own.state | {"discriminator": {}})
    getattr(game, loss)(*own, jax.random.key(1), batch, STEP)
    assert networks["generator"].calls == networks["discriminator"].calls == {(True, True)}


class Counted:
    """A network that counts in its state how often it is applied."""

    def __init__(self, function):
        self.function = function

    def init(self, key, *args, train):
        return {"counts": {"n": jnp.float32(0)}}

    def apply(self, variables, *args, train, mutable=None):
        outputs = self.function(*args)
        return (outputs, {"counts": {"n": variables["counts"]["n"] + 1}}) if train else outputs


def test_each_loss_returns_the_new_state_of_its_own_network():
    """Data and translations are two passes of the discriminator, one after the other."""
    game = model(
        generator=Counted(lambda y: y[..., :2]),
        discriminator=Counted(lambda x, y: x[..., :1] + y[..., :1]),
        penalties=(),
    )
    own = game.init(jax.random.key(0), BATCH)
    counts = {}
    for objective in game.objectives():
        _, (state, _) = objective.loss(*own, jax.random.key(1), BATCH, STEP)
        counts[objective.name] = {part: float(state[part]["counts"]["n"]) for part in ("generator", "discriminator")}
    assert counts == {
        "discriminator": {"generator": 0, "discriminator": 2},
        "generator": {"generator": 1, "discriminator": 0},
    }


def test_a_diagnosis_compares_translations_with_their_data():
    """Translations that ignore their source cover one example, and perfect ones as many as the data."""
    x = jax.random.uniform(jax.random.key(0), (40, 1, 1, 1))
    coverage = {}
    for name, generator in (("copied", lambda params, y: y), ("constant", lambda params, y: 0 * y)):
        game = model(generator=Function(generator), source_channels=1)
        own = variables()
        own = own._replace(params=own.params | {"discriminator": {"a": jnp.ones(1), "c": jnp.zeros(1)}})
        diagnosis = game.diagnose(own, jax.random.key(1), {"x": x, "y": x})
        assert set(diagnosis) == {"coverage", "discriminator_std", "generator_gradient"}
        coverage[name] = float(diagnosis["coverage"])
    assert coverage["copied"] == 1
    assert coverage["constant"] < 0.15


def test_capabilities():
    game = model()
    assert supports(game, Translates)
    assert game.directions == ("y_to_x",)
    assert game.conditions[0].paired
    assert capabilities.conditions(game) == (Condition(name="y", kind="image", shape=(None, None, 3)),)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": BATCH["x"]}, "the batch has ['x'], but Pix2Pix is conditioned on 'y'; add it to the data"),
        (
            BATCH | {"y": BATCH["y"][:, :1]},
            "x has shape (5, 2, 3, 2) and y (5, 1, 3, 3), but Pix2Pix learns from pairs",
        ),
        (BATCH | {"y": BATCH["y"][:3]}, "resize them, or use CycleGAN for images that are not paired"),
        (BATCH | {"y": BATCH["y"].astype(jnp.uint8)}, "y has dtype uint8, but Pix2Pix takes images in [0, 1]"),
        (BATCH | {"x": BATCH["x"].astype(jnp.uint8)}, "x has dtype uint8, but Pix2Pix takes images in [0, 1]"),
        (BATCH | {"y": BATCH["x"]}, "Pix2Pix has source_channels=3; use source_channels=2"),
    ],
)
def test_wrong_batches(batch, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model().init(jax.random.key(0), batch)


def test_wrong_networks_and_settings():
    flat = Function(lambda params, x, y: x)
    with pytest.raises(ValueError, match=re.escape("discriminator returned shape (5, 2, 3, 2), but the objective")):
        model(discriminator=flat).init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=re.escape("generator returned shape (5, 2, 3, 3), but matching x needs")):
        model(generator=Function(lambda params, y: y)).init(jax.random.key(0), BATCH)
    for changes in ({"l1_weight": 0.0}, {"penalties": (gan.R1(),)}):
        with pytest.raises(ValueError, match="without a discriminator there is only the L1 distance"):
            model(discriminator=None, **changes)


def test_wrong_translations():
    own, key = variables(), jax.random.key(1)
    with pytest.raises(ValueError, match="direction is 'x_to_y', but must be 'y_to_x'"):
        model().translate(own, key, BATCH["y"], direction="x_to_y")
    with pytest.raises(ValueError, match="use source_channels=2"):
        model().translate(own, key, BATCH["x"])
    with pytest.raises(ValueError, match="y is None, but"):
        model().sample(own, key, 3)
    with pytest.raises(ValueError, match="and num_samples is 3; pass as many images"):
        model().sample(own, key, 3, y=BATCH["y"])
    with pytest.raises(ValueError, match="a diagnosis compares two"):
        model().diagnose(own, key, jax.tree.map(lambda a: a[:1], BATCH))


def test_models_with_equal_fields_are_equal():
    assert model() == model()
    assert dataclasses.replace(model(), l1_weight=1.0) == model(l1_weight=1.0) != model()
