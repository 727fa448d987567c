"""Progressive growing: exact ends of the fade-in, grown variables, and resumed runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data, gan
from genjax.core import Variables
from genjax.gan.resnet import average_pool
from genjax.learners import Stage, gradient_learner
from genjax.nets import apply_net, upsample
from genjax.runner import Experiment, train

NUM_CLASSES, NUM_FADE_STEPS = 3, 4
X = jax.random.normal(jax.random.key(1), (4, 8, 8, 2))
Z = jax.random.normal(jax.random.key(2), (4, 3))
LABEL = jax.nn.one_hot(jnp.arange(4) % NUM_CLASSES, NUM_CLASSES)
MODEL = gan.GAN(
    latent_dim=3,
    generator=gan.ProgressiveGenerator((6, 5, 4), output_shape=(8, 8, 2)),
    discriminator=gan.ProgressiveDiscriminator((4, 5, 6)),
    adversarial_loss=gan.Wasserstein(),
    num_classes=NUM_CLASSES,
)
MODELS = gan.growing(MODEL, num_fade_steps=NUM_FADE_STEPS)
BATCH = {"x": X, "label": jnp.arange(4) % NUM_CLASSES}
SMALLER = MODELS[1].gan.init(jax.random.key(3), gan.shrink(BATCH, 1))
NEW = MODEL.init(jax.random.key(0), BATCH)
LARGER = gan.grow(SMALLER, NEW)


def at(alpha):
    """State of both networks at a blend."""
    return {part: {"growth": {"blend": jnp.float32(alpha)}} for part in ("generator", "discriminator")}


def generate(model, variables, state=None):
    params, state = variables.params["generator"], (state or variables.state)["generator"]
    return apply_net(model.generator, params, state, Z, LABEL)[0]


def discriminate(model, variables, x, state=None):
    params, state = variables.params["discriminator"], (state or variables.state)["discriminator"]
    return apply_net(model.discriminator, params, state, x, LABEL)[0]


def without(variables, part, name):
    """Variables with another layer in place of one."""
    layers = variables.params[part]
    other = jax.tree.map(lambda leaf: leaf + 1, layers[name])
    return variables._replace(params=variables.params | {part: layers | {name: other}})


class TestFadeIn:
    def test_at_zero_the_samples_are_the_smaller_ones_upsampled(self):
        expected = upsample(generate(MODELS[1].gan, SMALLER))
        np.testing.assert_allclose(generate(MODEL, LARGER, at(0.0)), expected, rtol=1e-5, atol=1e-6)

    def test_at_zero_the_outputs_are_the_smaller_ones_of_pooled_images(self):
        expected = discriminate(MODELS[1].gan, SMALLER, average_pool(X))
        np.testing.assert_allclose(discriminate(MODEL, LARGER, X, at(0.0)), expected, rtol=1e-5, atol=1e-6)

    def test_at_one_the_new_layers_stand_alone(self):
        for part, name in (("generator", "to_image_4"), ("discriminator", "from_image_4")):
            changed = without(LARGER, part, name)
            np.testing.assert_array_equal(generate(MODEL, LARGER), generate(MODEL, changed))
            np.testing.assert_array_equal(discriminate(MODEL, LARGER, X), discriminate(MODEL, changed, X))

    def test_between_the_samples_are_blended(self):
        old, new, blended = (generate(MODEL, LARGER, at(alpha)) for alpha in (0.0, 1.0, 0.25))
        np.testing.assert_allclose(blended, 0.75 * old + 0.25 * new, rtol=1e-4, atol=1e-5)

    def test_at_one_the_generator_is_what_its_layers_make(self):
        """The whole network against its layers in NumPy."""
        variables = without(LARGER, "generator", "project")  # with a bias, without which the norm of z does not matter
        layers = jax.tree.map(np.asarray, variables.params["generator"])
        hidden = normalized(np.concatenate([Z, LABEL], axis=-1))
        hidden = layer(hidden, layers["project"]).reshape(4, 2, 2, 6)
        hidden = normalized(leaky(hidden))
        for name in ("conv_2", "conv_4_in", "conv_4", "conv_8_in", "conv_8"):
            hidden = hidden.repeat(2, axis=1).repeat(2, axis=2) if name.endswith("in") else hidden
            hidden = normalized(leaky(layer(neighborhoods(hidden), layers[name])))
        images = layer(hidden, layers["to_image_8"], gain=1)
        np.testing.assert_allclose(generate(MODEL, variables), images, rtol=1e-3, atol=1e-4)

    def test_at_one_the_discriminator_is_what_its_layers_make(self):
        layers = jax.tree.map(np.asarray, LARGER.params["discriminator"])
        hidden = leaky(layer(np.asarray(X), layers["from_image_8"]))
        for name in ("conv_8", "conv_8_out", "conv_4", "conv_4_out"):
            hidden = leaky(layer(neighborhoods(hidden), layers[name]))
            hidden = np.asarray(average_pool(hidden)) if name.endswith("out") else hidden
        deviation = np.sqrt(hidden.var(axis=0) + 1e-8).mean()
        hidden = np.concatenate([hidden, np.full((4, 2, 2, 1), deviation)], axis=-1)
        hidden = leaky(layer(neighborhoods(hidden), layers["conv_2"]))
        hidden = leaky(layer(hidden.reshape(4, -1), layers["dense"]))
        outputs = layer(hidden, layers["output"], gain=1)
        outputs += np.sum(hidden * (LABEL @ layers["embedding"]["kernel"]), axis=-1, keepdims=True) / np.sqrt(6)
        np.testing.assert_allclose(discriminate(MODEL, LARGER, X), outputs, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("number", [0, 1])
    def test_objectives_blend_the_data_and_the_generator_moves_the_blend(self, number):
        fading, whole = (model.objectives()[number] for model in (MODELS[2], MODEL))
        assert (fading.name, fading.wrt) == (whole.name, whole.wrt)

        @jax.jit
        def both(step, alpha):
            key = jax.random.key(4)
            blended = BATCH | {"x": (1 - alpha) * upsample(average_pool(X)) + alpha * X}
            return (
                fading.loss(LARGER.params, at(alpha), jax.random.clone(key), BATCH, step),
                whole.loss(LARGER.params, at(alpha), key, blended, step),
            )

        for step in (0, 1, NUM_FADE_STEPS - 1, 2 * NUM_FADE_STEPS):
            alpha, after = (min(1, s / NUM_FADE_STEPS) for s in (step, step + number))
            (loss, (state, metrics)), (expected, _) = both(jnp.int32(step), jnp.float32(alpha))
            np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
            assert state == at(after)
            assert metrics["blend"] == alpha

    def test_it_starts_at_zero(self):
        assert MODELS[2].init(jax.random.key(5), BATCH).state == at(0.0)


def layer(x, layer, gain=2**0.5):
    """Layer with equalized learning rate on (..., n) inputs."""
    kernel = layer["kernel"].reshape(-1, layer["kernel"].shape[-1])
    return x @ (gain / np.sqrt(len(kernel)) * kernel) + layer["bias"]


def neighborhoods(x):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = [padded[:, i : i + x.shape[1], j : j + x.shape[2]] for i in range(3) for j in range(3)]
    return np.concatenate(rows, axis=-1)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def normalized(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-8)


class TestGrow:
    def test_models_double_and_end_with_the_whole(self):
        first, second, third = MODELS
        assert [model.generator.output_shape for model in (first, second.gan, third.gan)] == [
            (2, 2, 2), (4, 4, 2), (8, 8, 2),
        ]  # fmt: skip
        assert [model.discriminator.features for model in (first, second.gan, third.gan)] == [(6,), (5, 6), (4, 5, 6)]
        assert third.gan == MODEL
        assert {second.num_fade_steps, third.num_fade_steps} == {NUM_FADE_STEPS}

    def test_the_layers_of_the_smaller_are_kept_and_no_other(self):
        for part, dropped in (("generator", {"to_image_2"}), ("discriminator", {"from_image_2"})):
            learned = set(SMALLER.params[part]) - dropped
            assert set(LARGER.params[part]) - learned == {
                name for name in NEW.params[part] if name.endswith(("_8", "_8_in", "_8_out"))
            }
            for name, layer in LARGER.params[part].items():
                assert layer is (SMALLER if name in learned else NEW).params[part][name]
        assert LARGER.state == NEW.state == at(1.0)

    def test_the_smallest_has_no_blend(self):
        assert jax.tree.leaves(MODELS[0].init(jax.random.key(5), gan.shrink(BATCH, 2)).state) == []


class TestErrors:
    def test_sides_that_no_growth_reaches(self):
        with pytest.raises(ValueError, match=r"ProgressiveGenerator halves .* 2 times, but 30x30 .* by 4; .* to 32x32"):
            gan.ProgressiveGenerator((4, 4, 4), output_shape=(30, 30, 1))
        with pytest.raises(ValueError, match=r"ProgressiveDiscriminator halves .* 30x30 is not divisible by 4"):
            gan.ProgressiveDiscriminator((4, 4, 4)).init(jax.random.key(5), jnp.zeros((2, 30, 30, 1)))
        with pytest.raises(ValueError, match=r"shrink halves the image 3 times, but 4x4 is not divisible by 8"):
            gan.shrink({"x": jnp.zeros((2, 4, 4, 1))}, 3)

    def test_networks_that_do_not_grow(self):
        fixed = gan.GAN(latent_dim=2, generator=MODEL.generator, discriminator=gan.DCGANDiscriminator((4,)))
        with pytest.raises(ValueError, match=r"are a ProgressiveGenerator and a DCGANDiscriminator, but only"):
            gan.growing(fixed, num_fade_steps=1)
        unequal = gan.GAN(latent_dim=2, generator=MODEL.generator, discriminator=gan.ProgressiveDiscriminator((4,)))
        with pytest.raises(ValueError, match=r"features=\(6, 5, 4\) .* features=\(4,\), .* give as many features"):
            gan.growing(unequal, num_fade_steps=1)
        with pytest.raises(ValueError, match="gan has one resolution"):
            gan.FadeIn(gan=MODELS[0], num_fade_steps=1)

    def test_variables_of_other_networks(self):
        with pytest.raises(ValueError, match=r"the generator has layers \['other'\], but the larger one"):
            gan.grow(Variables({"generator": {"other": {}}}, {}), LARGER)
        narrow = gan.ProgressiveGenerator((6, 3), output_shape=(4, 4, 2)).init(jax.random.key(5), Z, LABEL)["params"]
        with pytest.raises(ValueError, match=r"'conv_4': \{'bias': \(3,\)"):
            gan.grow(Variables({"generator": narrow}, {}), LARGER)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


def staged(kill_at=None):
    """Two resolutions of 8 steps each."""
    networks = {
        "generator": gan.ProgressiveGenerator((2, 2), output_shape=(2, 2, 1)),
        "discriminator": gan.ProgressiveDiscriminator((2, 2), group_size=2),
    }
    first, second = gan.growing(gan.GAN(latent_dim=2, **networks), num_fade_steps=NUM_FADE_STEPS)

    def later(finished):
        start = lambda key, batch: gan.grow(finished["first"], second.init(key, batch))  # noqa: E731
        return gradient_learner(second, optax.adam(1e-2), ema_decay=0.9, init=start)

    def kill(step, metrics, variables):
        if step == kill_at:
            raise Killed

    earlier = gradient_learner(first, optax.adam(1e-2), ema_decay=0.9)
    return Experiment(
        model=second,
        data=data.arrays(np.asarray(X[:, :2, :2, :1]), name="random"),
        stages=(
            Stage(
                name="first",
                learner=lambda _: earlier,
                steps=8,
                batch=lambda _: lambda _key, batch: gan.shrink(batch, 1),
            ),
            Stage(name="second", learner=later, steps=8),
        ),
        batch_size=4,
        log_every=2,
        checkpoint_every=2,
        callbacks=(kill,),
    )


def test_a_run_that_is_killed_while_a_resolution_fades_in_resumes_to_the_same_bits(tmp_path):
    whole = train(staged(), progress=False)
    with pytest.raises(Killed):
        train(staged(kill_at=10), workdir=tmp_path / "run", progress=False)
    resumed = train(staged(), workdir=tmp_path / "run", resume=True, progress=False)
    jax.tree.map(np.testing.assert_array_equal, resumed.variables, whole.variables)
    assert whole.variables.state["generator"]["growth"]["blend"] == 1
