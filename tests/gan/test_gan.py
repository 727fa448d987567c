"""GANs of linear networks, whose losses, gradients and trajectories are known in closed form."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, log_softmax

from genjax import gan, nets
from genjax.core import Variables
from genjax.learners import gradient_learner

NUM = 6
X = np.asarray(jax.random.normal(jax.random.key(0), (NUM, 2))) + 1.0
LABEL = np.arange(NUM) % 3
BATCH = {"x": jnp.asarray(X), "label": jnp.asarray(LABEL)}
POINT = np.array([0.5, -1.0])  # the one sample of a generator without weights
DIRECTION = np.array([0.7, -0.4])
STEP = jnp.int32(0)


def model(**changes) -> gan.GAN:
    fields = {"latent_dim": 3, "generator": nets.MLP((2,)), "discriminator": nets.MLP((1,))}
    return gan.GAN(**(fields | changes))


def linear(kernel, bias=None):
    kernel = np.asarray(kernel, np.float32)
    return {
        "Dense_0": {
            "kernel": jnp.asarray(kernel),
            "bias": jnp.asarray(np.zeros(kernel.shape[1]) if bias is None else bias),
        }
    }


def variables(generator_kernel=None, direction=DIRECTION[:, None], bias=POINT) -> Variables:
    generator = linear(np.zeros((3, 2)) if generator_kernel is None else generator_kernel, bias)
    params = {"generator": generator, "discriminator": linear(direction)}
    return Variables(params, {"generator": {}, "discriminator": {}})


def losses(game, own, batch=BATCH, step=STEP):
    """Loss, metrics and gradient of each objective, by name."""
    results = {}
    for objective in game.objectives():
        (part,) = objective.wrt

        def loss(parameters, objective=objective, part=part):
            return objective.loss(own.params | {part: parameters}, own.state, jax.random.key(1), batch, step)

        (value, (_, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(own.params[part])
        results[objective.name] = (value, metrics, gradient)
    return results


def softplus(x):
    return np.logaddexp(0, x)


def test_both_losses_and_their_gradients_match_the_equations():
    results = losses(model(), variables())
    r, f = X @ DIRECTION, POINT @ DIRECTION
    value, metrics, gradient = results["discriminator"]
    expected = np.mean(softplus(-r)) + softplus(f)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["divergence"]) == pytest.approx(np.log(2) - expected / 2, rel=1e-4)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(r > f))
    by_hand = -np.mean(expit(-r)[:, None] * X, axis=0) + expit(f) * POINT
    np.testing.assert_allclose(gradient["Dense_0"]["kernel"][:, 0], by_hand, rtol=1e-4, atol=1e-6)
    value, _, gradient = results["generator"]
    assert float(value) == pytest.approx(softplus(-f), rel=1e-5)
    np.testing.assert_allclose(gradient["Dense_0"]["bias"], -expit(-f) * DIRECTION, rtol=1e-4)


@pytest.mark.parametrize(
    "loss", [gan.Minimax(), gan.LeastSquares(), gan.Wasserstein(), gan.Hinge(), gan.RelativisticAverage()], ids=repr
)
def test_every_adversarial_loss_is_used_by_both_networks(loss):
    results = losses(model(adversarial_loss=loss), variables())
    r, f = jnp.asarray(X @ DIRECTION), jnp.full(NUM, POINT @ DIRECTION)
    assert float(results["discriminator"][0]) == pytest.approx(float(loss.discriminator(r, f)), rel=1e-5)
    assert float(results["generator"][0]) == pytest.approx(float(loss.generator(r, f)), rel=1e-5)


def test_penalties_add_up_and_a_lazy_one_counts_only_at_its_steps():
    own = variables()
    squared = np.sum(DIRECTION**2)
    plain = float(losses(model(), own)["discriminator"][0])
    game = model(penalties=(gan.GradientPenalty(weight=2.0, target=0.0), gan.R1(weight=3.0, every=4)))
    for step, expected in ((0, 2 * squared + 4 * 1.5 * squared), (1, 2 * squared), (8, 8 * squared)):
        value, metrics, _ = losses(game, own, step=jnp.int32(step))["discriminator"]
        assert float(metrics["penalty"]) == pytest.approx(expected, rel=1e-5)
        assert float(value) == pytest.approx(plain + expected, rel=1e-5)


def test_packing_concatenates_consecutive_examples_along_the_last_axis():
    directions = np.array([[0.7], [-0.4], [0.2], [1.1]])
    value, metrics, _ = losses(model(pack=2), variables(direction=directions))["discriminator"]
    r, f = X.reshape(3, 4) @ directions[:, 0], np.tile(POINT, 2) @ directions[:, 0]
    assert float(value) == pytest.approx(np.mean(softplus(-r)) + softplus(f), rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(r > f))
    images = jax.random.normal(jax.random.key(1), (4, 2, 2, 3))
    packed = gan.game._pack(images, 2)
    np.testing.assert_array_equal(packed[1], np.concatenate([images[2], images[3]], axis=-1))


def test_both_networks_take_the_labels():
    by_class = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    class_outputs = np.array([0.3, -0.6, 2.0])
    game = model(num_classes=3)
    generator = np.concatenate([np.zeros((3, 2)), by_class])
    direction = np.concatenate([DIRECTION, class_outputs])[:, None]
    own = variables(generator, direction)
    samples = POINT + by_class[LABEL]
    np.testing.assert_allclose(game.sample(own, jax.random.key(1), NUM, label=jnp.asarray(LABEL)), samples, rtol=1e-6)
    r, f = (x @ DIRECTION + class_outputs[LABEL] for x in (X, samples))
    results = losses(game, own)
    assert float(results["discriminator"][0]) == pytest.approx(np.mean(softplus(-r) + softplus(f)), rel=1e-5)
    assert float(results["generator"][0]) == pytest.approx(np.mean(softplus(-f)), rel=1e-5)


def test_an_auxiliary_classifier_is_part_of_both_losses():
    by_class = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    directions = np.concatenate([DIRECTION[:, None], np.array([[1.0, -0.5, 0.2], [0.1, 0.9, -1.0]])], axis=1)
    own = variables(np.concatenate([np.zeros((3, 2)), by_class]), directions)
    samples, rows = POINT + by_class[LABEL], np.arange(NUM)
    real_log_prob, fake_log_prob = (log_softmax(x @ directions[:, 1:], axis=-1)[rows, LABEL] for x in (X, samples))
    r, f = X @ DIRECTION, samples @ DIRECTION
    results = losses(model(num_classes=3, auxiliary_weight=0.5, discriminator=nets.MLP((4,))), own)
    value, metrics, _ = results["discriminator"]
    expected = np.mean(softplus(-r) + softplus(f)) - 0.5 * np.mean(real_log_prob + fake_log_prob)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    right = np.argmax(X @ directions[:, 1:], axis=-1) == LABEL
    assert float(metrics["class_accuracy"]) == pytest.approx(np.mean(right))
    expected = np.mean(softplus(-f)) - 0.5 * np.mean(fake_log_prob)
    assert float(results["generator"][0]) == pytest.approx(expected, rel=1e-5)


def erased(key, x):
    """Augmentation to zero."""
    del key
    return 0 * x


def test_an_augmentation_comes_before_the_discriminator_in_both_losses():
    results = losses(model(augment=erased), variables())
    assert float(results["discriminator"][0]) == pytest.approx(2 * np.log(2))
    assert float(results["generator"][0]) == pytest.approx(np.log(2))
    assert not np.any(results["generator"][2]["Dense_0"]["bias"])


class Standardizing(nn.Module):
    """Discriminator with batch normalization at its input."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(1)(nn.BatchNorm(use_running_average=not train, momentum=0.9, use_bias=False)(x))


def test_data_and_samples_have_separate_batch_statistics():
    """With separate statistics, an affine map of the samples gives the same outputs."""
    game = model(discriminator=Standardizing(), generator=nets.MLP((2,)))
    own = game.init(jax.random.key(0), BATCH)
    batch = {"x": 3 * game._samples(own, jax.random.split(jax.random.key(1), 5)[0], NUM, None, train=True)[0] + 5}
    value, (state, metrics) = game.discriminator_loss(own.params, own.state, jax.random.key(1), batch, STEP)
    outputs = game._discriminate_both(own, jax.random.key(1), (batch["x"],), ((batch["x"] - 5) / 3,))[:2]
    np.testing.assert_allclose(outputs[0].output, outputs[1].output, atol=1e-4)
    assert np.isfinite(value)
    running_mean = state["discriminator"]["batch_stats"]["BatchNorm_0"]["mean"]
    first = 0.1 * np.mean(batch["x"], axis=0)
    np.testing.assert_allclose(running_mean, 0.9 * first + 0.1 * (np.mean(batch["x"], axis=0) - 5) / 3, rtol=1e-4)
    assert metrics["accuracy"] <= 1


def test_penalties_treat_examples_separately_whatever_the_normalization():
    game = model(discriminator=Standardizing(), penalties=(gan.R1(weight=2.0),))
    own = game.init(jax.random.key(0), BATCH)
    _, (_, metrics) = game.discriminator_loss(own.params, own.state, jax.random.key(1), BATCH, STEP)
    kernel = own.params["discriminator"]["Dense_0"]["kernel"]  # the running variance is initialized to one
    assert float(metrics["penalty"]) == pytest.approx(float(jnp.sum(kernel**2)), rel=1e-4)


class Whitened(nn.Module):
    """Linear generator followed by batch normalization."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, z, condition=None, train=False):
        h = nn.Dense(2, use_bias=False, kernel_init=lambda *_: jnp.array([[3.0, 0.0], [0.0, 0.5], [4.0, 0.0]]))(z)
        return nn.BatchNorm(use_running_average=not train, momentum=self.momentum, use_bias=False)(h)


def test_standing_statistics_are_those_of_samples_for_any_momentum():
    statistics = []
    for momentum in (0.9, 0.99):
        game = model(generator=Whitened(momentum), num_classes=3)
        own = game.init(jax.random.key(0), BATCH)
        standing = game.standing_statistics(own, jax.random.key(1), num_batches=64, batch_size=256)
        assert jax.tree.structure(standing) == jax.tree.structure(own)
        statistics.append(standing.state["generator"]["batch_stats"]["BatchNorm_0"])
    np.testing.assert_allclose(statistics[0]["var"], [25.0, 0.25], rtol=0.04)  # 3.6 standard errors of 16,384 draws
    np.testing.assert_allclose(statistics[0]["mean"], [0.0, 0.0], atol=0.15)
    for name in ("mean", "var"):
        np.testing.assert_allclose(statistics[1][name], statistics[0][name], rtol=1e-3, atol=1e-4)


def test_truncation_keeps_noise_near_zero():
    game = model(latent_dim=2)
    own = variables(np.eye(2), bias=np.zeros(2))
    z = np.asarray(game.sample(own, jax.random.key(1), 20_000, truncation=0.5))
    assert 0.49 < np.max(np.abs(z)) <= 0.5
    assert np.std(z) == pytest.approx(0.284, rel=0.02)  # of a standard normal within ±0.5
    assert np.std(np.asarray(game.sample(own, jax.random.key(1), 20_000))) == pytest.approx(1.0, rel=0.02)
    with pytest.raises(ValueError, match=r"truncation is 0\.0"):
        game.sample(own, jax.random.key(1), 3, truncation=0.0)


class Dirac:
    """One parameter: the generator's sample θ, or the discriminator's slope ψ (Mescheder et al. 2018, section 2)."""

    def init(self, key, x):
        return {"params": jnp.ones(())}

    def apply(self, variables, x):
        return jnp.full((len(x), 1), variables["params"]) if x.shape[1] == 3 else variables["params"] * x

    def __eq__(self, other):
        return isinstance(other, Dirac)

    def __hash__(self):
        return 0


@pytest.mark.parametrize(("weight", "converges"), [(0.0, False), (0.5, True)])
def test_the_dirac_gan_converges_with_r1_and_circles_without(weight, converges):
    """Data are 0, samples θ, D(x) = ψ x: minimax gradients conserve |(θ, ψ)| (Mescheder et al. 2018, lemma 2.3)."""
    game = model(
        generator=Dirac(), discriminator=Dirac(), adversarial_loss=gan.Minimax(), penalties=(gan.R1(weight=weight),)
    )
    learner = gradient_learner(game, optax.sgd(0.1))
    batch = {"x": jnp.zeros((4, 1))}

    def run(key):
        train = learner.init(key, batch)
        keys = jax.random.split(jax.random.key(1), 500)
        return jax.lax.scan(lambda train, key: learner.step(train, key, batch), train, keys)[0]

    with jax.debug_key_reuse(False):  # the keys of the scan differ from the first
        params = jax.jit(run)(jax.random.key(0)).params
    distance = np.hypot(*(float(params[part]) for part in ("generator", "discriminator")))
    assert (distance < 1e-2) if converges else (distance > 0.9)


class TestErrors:
    def test_networks_that_do_not_fit(self):
        for changes, message in (
            ({"generator": nets.MLP((3,))}, r"generator returned shape \(6, 3\), but matching x needs \(6, 2\)"),
            (
                {"discriminator": nets.MLP((2,))},
                r"discriminator returned shape \(6, 2\), but the objective needs \(6, 1\)",
            ),
            ({"num_classes": 3, "auxiliary_weight": 1.0}, r"the objective needs \(6, 4\)"),
            ({"pack": 4}, r"divisible by pack=4; use a batch size of 8"),
        ):
            with pytest.raises(ValueError, match=message):
                model(**changes).init(jax.random.key(1), BATCH)

    def test_choices_that_do_not_fit(self):
        for changes in ({"auxiliary_weight": 1.0}, {"auxiliary_weight": 1.0, "num_classes": 3, "pack": 2}):
            with pytest.raises(ValueError, match="an auxiliary classifier predicts the class of one example"):
                model(**changes)
        for field in ("latent_dim", "pack"):
            with pytest.raises(ValueError, match=f"{field} is 0"):
                model(**{field: 0})

    def test_labels_out_of_range(self):
        game = model(num_classes=3)
        own = variables(np.zeros((6, 2)))
        with pytest.raises(ValueError, match=r"label is 3, but must be in 0, \.\.\., 2"):
            game.sample(own, jax.random.key(1), 2, label=3)
        with pytest.raises(ValueError, match="needs 'label'"):
            game.init(jax.random.key(1), {"x": BATCH["x"]})

    def test_a_schedule_without_the_generator(self):
        with pytest.raises(ValueError, match="schedule never names 'generator'"):
            gradient_learner(model(), optax.sgd(0.1), schedule=("discriminator",) * 5)


def test_models_with_equal_fields_are_equal():
    assert model(penalties=(gan.R1(),)) == model(penalties=(gan.R1(),))
    assert dataclasses.replace(model(), pack=2) == model(pack=2) != model()
