"""Trained adversarial autoencoders have codes that a two-sample test cannot distinguish from the prior."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import nets
from genjax.learners import gradient_learner
from genjax.metrics.two_sample import mmd_test
from genjax.ops.likelihoods import Gaussian
from genjax.ops.priors import GaussianMixture, StandardNormal, SwissRoll
from genjax.vae.adversarial_autoencoder import AdversarialAutoencoder


def train_model(autoencoder, batch_of, steps, *, rate, turns=1):
    """Train on fresh batches ``batch_of(key)`` with learning rates that decay to zero; return averaged variables.

    ``turns`` is the number of discriminator updates per update of the other parts.
    """
    schedule = ("reconstruction", *["discriminator"] * turns, "regularizer")
    optimizers = {
        name: optax.adam(optax.cosine_decay_schedule(rate, steps * schedule.count(name)), b1=0.5)
        for name in dict.fromkeys(schedule)
    }
    learner = gradient_learner(autoencoder, optimizers, schedule=schedule, ema_decay=0.99)

    @jax.jit
    def run(key):
        init_key, first_key, data_key, step_keys = jax.random.split(key, 4)
        train = learner.init(init_key, batch_of(first_key))

        def body(train, i):
            batches = jax.vmap(batch_of)(jax.random.split(jax.random.fold_in(data_key, i), len(schedule)))
            return learner.step(train, jax.random.fold_in(step_keys, i), batches)[0], None

        return jax.lax.scan(body, train, jnp.arange(steps))[0].variables

    return run(jax.random.key(0))


def plane(key, size=128, gap=0.0):
    """Noisy uniform points on a parallelogram in five dimensions, in two classes separated by ``gap``."""
    position_key, noise_key = jax.random.split(key)
    position = jax.random.uniform(position_key, (size, 2), minval=-2, maxval=2)
    side = jnp.where(position[:, :1] > 0, 1.0, -1.0)
    spanned = (position + gap / 2 * side) @ jnp.array([[1.0, 0.5, 0.0, -1.0, 0.3], [0.0, 1.0, -0.7, 0.5, 1.0]])
    x = spanned + 0.1 * jax.random.normal(noise_key, (size, 5))
    return {"x": x, "label": (side[:, 0] > 0).astype(jnp.int32)}


def perceptrons(**changes):
    width = 64
    fields = {
        "prior": StandardNormal(2),
        "encoder": nets.MLP((width, width, 2)),
        "decoder": nets.MLP((width, width, 5)),
        "discriminator": nets.MLP((width, width, 1)),
        "likelihood": Gaussian(log_scale=float(np.log(0.5))),
        "gradient_penalty": 1.0,
    }
    return AdversarialAutoencoder(**(fields | changes))


def reconstruction_error(autoencoder, variables, batch):
    again = autoencoder.reconstruct(variables, jax.random.key(9), batch["x"])
    return np.mean((again - batch["x"]) ** 2) / np.var(batch["x"], axis=0).mean()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["deterministic", "gaussian"])
def test_trained_codes_have_the_prior_and_keep_the_data(code):
    """Codes of new data pass the two-sample test at 5 %; the whitened data fail it in their principal plane."""
    autoencoder = perceptrons(code=code, encoder=nets.MLP((64, 64, 2 if code == "deterministic" else 4)))
    variables = train_model(autoencoder, plane, 6_000, rate=1e-3)
    fresh = plane(jax.random.key(1), 1_000)
    prior = autoencoder.prior.sample(jax.random.key(2), 1_000)
    test = mmd_test(jax.random.key(3), prior, autoencoder.sample_posterior(variables, jax.random.key(4), fresh["x"]))
    assert test["mmd2"] < test["threshold"]
    assert reconstruction_error(autoencoder, variables, fresh) < 0.02
    x = np.asarray(fresh["x"])
    standardized = np.linalg.svd(x - x.mean(0), full_matrices=False)[0][:, :2] * np.sqrt(1_000)
    linear = mmd_test(jax.random.key(5), prior, standardized)
    assert linear["mmd2"] > linear["threshold"]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [True, False], ids=["classes", "no classes"])
@pytest.mark.parametrize(
    "prior",
    [
        GaussianMixture(num_components=2, radius=2.0, radial_scale=0.5, tangential_scale=0.3),
        SwissRoll(num_classes=2, radius=2.0, num_turns=1.0, scale=0.2),
    ],
    ids=["petals", "roll"],
)
def test_codes_match_priors_that_are_not_normal(prior, labels):
    """Codes of new data pass the two-sample test, for all classes together and for each class.

    If the prior or its class is not Gaussian, samples of a Gaussian with the same moments fail the same test.
    """
    deep = {"encoder": nets.MLP((64, 64, 64, 2)), "discriminator": nets.MLP((64, 64, 64, 1))}
    autoencoder = perceptrons(
        prior=prior, **deep, **({"num_classes": 2, "label_to": "discriminator"} if labels else {})
    )
    apart = partial(plane, gap=1.0)  # because a continuous encoder maps points between two classes between their codes
    variables = train_model(autoencoder, apart, 4_000, rate=2e-3, turns=3)
    fresh = apart(jax.random.key(1), 2_000)
    z = autoencoder.encode(variables, fresh["x"])
    for label in (None, 0, 1) if labels else (None,):
        codes = z if label is None else z[fresh["label"] == label][:900]  # equal shapes for both classes, compiled once
        keys = jax.random.split(jax.random.key(2 if label is None else 3 + label), 4)
        samples = prior.sample(keys[0], len(codes), label)
        p_value = mmd_test(keys[1], samples, codes)["p_value"]
        assert p_value > 0.01
        if label is None or isinstance(prior, SwissRoll):
            blob = jax.random.multivariate_normal(keys[2], samples.mean(0), jnp.cov(samples.T), (len(codes),))
            assert mmd_test(keys[3], samples, blob)["p_value"] < 0.01
    assert reconstruction_error(autoencoder, variables, fresh) < 0.02
