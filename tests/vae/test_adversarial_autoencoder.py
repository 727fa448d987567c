"""The adversarial autoencoder with linear networks, whose codes, losses and optimal discriminators are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer
from scipy import integrate, stats

from genjax import capabilities, latent, nets
from genjax.core import GenerativeModel, Variables
from genjax.ops.likelihoods import Bernoulli, Gaussian
from genjax.ops.priors import GaussianMixture, StandardNormal, SwissRoll
from genjax.vae.adversarial_autoencoder import AdversarialAutoencoder

PETALS = GaussianMixture(num_components=3, radius=3.0, radial_scale=0.1, tangential_scale=0.1)
ENCODING = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, 0.2]])
DECODING = np.array([[1.0, 0.0, 0.5], [0.0, 2.0, -1.0]])
DIRECTION = np.array([[0.7], [-1.1]])
LABEL_OUTPUTS = np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0], [5.0, 4.0, 3.0]])
LABEL_LOGITS = np.array([[0.0], [2.0], [-3.0]])
LOG_VAR = np.array([-1.0, 0.4])


class HalfSquare:
    """Discriminator z₁² / 2, without parameters."""

    def init(self, key, z):
        return {}

    def apply(self, variables, z):
        return 0.5 * z[:, :1] ** 2


def model(**changes):
    fields = {
        "prior": StandardNormal(2),
        "encoder": nets.MLP((2,)),
        "decoder": nets.MLP((3,)),
        "discriminator": nets.MLP((1,)),
        "likelihood": Gaussian(log_scale=0.0),
    }
    return AdversarialAutoencoder(**(fields | changes))


PLAIN = model()
NOISY = model(encoder=nets.MLP((4,)), code="gaussian")
STYLE = model(num_classes=3, label_to="decoder")
PLACED = model(num_classes=3, label_to="discriminator", prior=PETALS)


def variables_of(autoencoder):
    """Weights set by hand for the networks of a model."""
    encoding, bias = (ENCODING, np.zeros(2))
    if autoencoder.code == "gaussian":
        encoding, bias = np.concatenate([ENCODING, np.zeros((3, 2))], axis=1), np.concatenate([bias, LOG_VAR])
    decoding = np.concatenate([DECODING, LABEL_OUTPUTS]) if autoencoder.label_to == "decoder" else DECODING
    direction = np.concatenate([DIRECTION, LABEL_LOGITS]) if autoencoder.label_to == "discriminator" else DIRECTION
    kernels = {"encoder": (encoding, bias), "decoder": (decoding, np.zeros(3)), "discriminator": (direction, [0.2])}
    params = {name: {"Dense_0": {"kernel": jnp.float32(k), "bias": jnp.float32(b)}} for name, (k, b) in kernels.items()}
    return Variables(params, {"encoder": {}, "decoder": {}, "discriminator": {}})


@pytest.fixture(scope="module")
def batch():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    return {"x": jnp.asarray(x), "label": jnp.array([0, 2, 1, 1, 0, 2])}


def repeated(batch, times):
    return {name: jnp.tile(value, (times, *[1] * (value.ndim - 1))) for name, value in batch.items()}


def loss_of(autoencoder, name, batch, seed=0):
    (objective,) = (o for o in autoencoder.objectives() if o.name == name)
    value, (_, metrics) = jax.jit(objective.loss)(*variables_of(autoencoder), jax.random.key(seed), batch, 0)
    return float(value), metrics


def softplus(v):
    return np.logaddexp(0.0, v)


def expected_softplus(mean, scale, sign):
    """E softplus(sign · l) of a logit l ~ N(mean, scale²), by quadrature."""
    return integrate.quad(lambda e: softplus(sign * (mean + scale * e)) * stats.norm.pdf(e), -9, 9)[0]


class TestLosses:
    """Losses agree with NumPy for weights set by hand."""

    def test_reconstruction_is_the_mean_log_likelihood(self, batch):
        x = np.asarray(batch["x"])
        log_prob = stats.norm.logpdf(x, x @ ENCODING @ DECODING).sum(1).mean()
        loss, metrics = loss_of(PLAIN, "reconstruction", batch)
        np.testing.assert_allclose([-loss, metrics["reconstruction"]], log_prob, rtol=1e-5)

    def test_a_gaussian_code_adds_its_variance_to_the_error(self, batch):
        x = np.asarray(batch["x"])
        log_prob = stats.norm.logpdf(x, x @ ENCODING @ DECODING).sum(1).mean()
        spread = 0.5 * (np.exp(LOG_VAR)[:, None] * DECODING**2).sum()
        loss, _ = loss_of(NOISY, "reconstruction", repeated(batch, 5_000))
        np.testing.assert_allclose(-loss, log_prob - spread, atol=0.2)

    def test_discriminator_loss_is_the_cross_entropy_of_prior_and_codes(self, batch):
        logits = np.asarray(batch["x"]) @ ENCODING @ DIRECTION + 0.2
        expected = expected_softplus(0.2, np.linalg.norm(DIRECTION), -1) + softplus(logits).mean()
        loss, metrics = loss_of(PLAIN, "discriminator", repeated(batch, 5_000))
        np.testing.assert_allclose(loss, expected, atol=0.02)
        right = 0.5 * stats.norm.cdf(0.2 / np.linalg.norm(DIRECTION)) + 0.5 * (logits < 0).mean()
        np.testing.assert_allclose(metrics["accuracy"], right, atol=0.01)

    def test_gradient_penalty_is_half_the_squared_gradient_at_prior_samples_and_codes(self, batch):
        """A linear discriminator has a constant gradient; that of z₁² / 2 is z₁, with mean square 1."""
        plain, _ = loss_of(PLAIN, "discriminator", batch)
        penalized, _ = loss_of(model(gradient_penalty=0.6), "discriminator", batch)
        np.testing.assert_allclose(penalized - plain, 0.6 * (DIRECTION**2).sum(), rtol=1e-5)
        curved = [model(discriminator=HalfSquare(), gradient_penalty=gamma) for gamma in (0.0, 0.6)]
        plain, penalized = (loss_of(autoencoder, "discriminator", repeated(batch, 5_000))[0] for autoencoder in curved)
        codes = np.asarray(batch["x"]) @ ENCODING
        np.testing.assert_allclose(penalized - plain, 0.3 * (1 + np.mean(codes[:, 0] ** 2)), atol=0.01)

    @pytest.mark.parametrize("autoencoder", [PLAIN, NOISY], ids=["deterministic", "gaussian"])
    def test_regularizer_is_non_saturating(self, batch, autoencoder):
        logits = (np.asarray(batch["x"]) @ ENCODING @ DIRECTION + 0.2)[:, 0]
        scale = np.sqrt((np.exp(LOG_VAR) * DIRECTION[:, 0] ** 2).sum()) if autoencoder is NOISY else 0.0
        expected = np.mean([expected_softplus(logit, scale, -1) for logit in logits])
        loss, _ = loss_of(autoencoder, "regularizer", repeated(batch, 5_000 if autoencoder is NOISY else 1))
        np.testing.assert_allclose(loss, expected, atol=0.02 if autoencoder is NOISY else 1e-5)


class TestLabels:
    """Only one network takes the one-hot label."""

    def test_the_decoder_takes_them(self, batch):
        variables, x, label = variables_of(STYLE), batch["x"], batch["label"]
        outputs = np.asarray(x) @ ENCODING @ DECODING + LABEL_OUTPUTS[np.asarray(label)]
        key = jax.random.key(0)
        np.testing.assert_allclose(STYLE.reconstruct(variables, key, x, label=label), outputs, atol=1e-5)
        np.testing.assert_allclose(
            latent.interpolate(STYLE, variables, x, -x, 3, label=label)[:, 0], outputs, atol=1e-5
        )
        loss, _ = loss_of(STYLE, "reconstruction", batch)
        np.testing.assert_allclose(-loss, stats.norm.logpdf(x, outputs).sum(1).mean(), rtol=1e-5)
        for name in ("discriminator", "regularizer"):
            assert loss_of(STYLE, name, batch) == loss_of(PLAIN, name, batch)

    def test_samples_of_a_class_come_from_the_whole_prior(self):
        means = STYLE.sample(variables_of(STYLE), jax.random.key(0), 4_000, label=2, mean=True)
        np.testing.assert_allclose(means.mean(0), LABEL_OUTPUTS[2], atol=0.15)
        np.testing.assert_allclose(np.cov(means.T), DECODING.T @ DECODING, atol=0.35)

    def test_the_discriminator_takes_them_with_the_class_of_the_prior(self, batch):
        label = np.asarray(batch["label"])
        angle = 2 * np.pi * label / 3
        centres = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=-1) @ DIRECTION + LABEL_LOGITS[label] + 0.2
        real = np.mean([expected_softplus(c, 0.1 * np.linalg.norm(DIRECTION), -1) for c in centres[:, 0]])
        logits = np.asarray(batch["x"]) @ ENCODING @ DIRECTION + LABEL_LOGITS[label] + 0.2
        loss, _ = loss_of(PLACED, "discriminator", repeated(batch, 2_000))
        np.testing.assert_allclose(loss, real + softplus(logits).mean(), atol=0.01)
        loss, _ = loss_of(PLACED, "regularizer", batch)
        np.testing.assert_allclose(loss, softplus(-logits).mean(), rtol=1e-5)

    def test_samples_come_from_the_class_of_the_prior(self):
        variables = variables_of(PLACED)
        x = PLACED.sample(variables, jax.random.key(0), 200, label=1, mean=True)
        centre = 3 * np.array([np.cos(2 * np.pi / 3), np.sin(2 * np.pi / 3)]) @ DECODING
        np.testing.assert_allclose(x.mean(0), centre, atol=0.1)
        of_all = PLACED.sample(variables, jax.random.key(1), 3_000, mean=True)  # no label: all petals
        np.testing.assert_allclose(of_all.mean(0), 0.0, atol=0.3)

    def test_codes_do_not_depend_on_the_label(self, batch):
        for autoencoder in (STYLE, PLACED):
            code = autoencoder.encode(variables_of(autoencoder), batch["x"], label=batch["label"])
            np.testing.assert_allclose(code, np.asarray(batch["x"]) @ ENCODING, atol=1e-5)


class TestLatents:
    """Codes, and samples of prior and posterior."""

    def test_posterior_samples_have_its_moments(self, batch):
        x = jnp.tile(batch["x"][:1], (20_000, 1))
        mean = np.asarray(batch["x"][0]) @ ENCODING
        z = NOISY.sample_posterior(variables_of(NOISY), jax.random.key(0), x)
        np.testing.assert_allclose(z.mean(0), mean, atol=0.03)
        np.testing.assert_allclose(np.cov(z.T), np.diag(np.exp(LOG_VAR)), atol=0.05)
        np.testing.assert_allclose(NOISY.encode(variables_of(NOISY), x)[0], mean, atol=1e-5)

    def test_a_deterministic_code_is_its_own_sample(self, batch):
        variables, x = variables_of(PLAIN), batch["x"]
        z = PLAIN.sample_posterior(variables, jax.random.key(0), x)
        np.testing.assert_array_equal(z, PLAIN.encode(variables, x))
        np.testing.assert_allclose(z, np.asarray(x) @ ENCODING, atol=1e-5)

    def test_samples_are_decoded_prior_samples(self):
        x = PLAIN.sample(variables_of(PLAIN), jax.random.key(0), 20_000)
        np.testing.assert_allclose(np.cov(x.T), DECODING.T @ DECODING + np.eye(3), atol=0.2)
        z = PLACED.sample_prior(variables_of(PLACED), jax.random.key(1), 3_000)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1).mean(), 3.0, atol=0.02)

    def test_capabilities(self):
        assert isinstance(PLAIN, GenerativeModel)
        for name in ("Encodes", "Decodes", "Reconstructs", "HasLatentVariables", "HasConditions"):
            assert isinstance(PLAIN, getattr(capabilities, name))
        for name in ("HasLogProb", "HasLogProbLowerBound", "HasLogProbEstimate", "HasPosterior"):
            assert not isinstance(PLAIN, getattr(capabilities, name))


class Traced:
    """Network that may be traced but not run."""

    def __init__(self, net):
        self.net = net

    def init(self, key, *args):
        assert all(isinstance(arg, Tracer) for arg in args)
        return self.net.init(key, *args)

    def apply(self, variables, *args):
        assert all(isinstance(arg, Tracer) for arg in args)
        return self.net.apply(variables, *args)


class TestErrors:
    """Messages state value, limit and cure, before compilation."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"code": "random"}, "code is 'random', but must be 'deterministic' or 'gaussian'"),
            (
                {"label_to": "encoder", "num_classes": 3},
                "label_to is 'encoder', but must be 'decoder', 'discriminator'",
            ),
            ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0, but must be at least 0"),
            ({"num_classes": 3}, "num_classes is 3 and label_to is None, but labels need both; set both"),
            ({"label_to": "decoder"}, "num_classes is None and label_to is 'decoder', but labels need both"),
            ({"num_classes": 0, "label_to": "decoder"}, "num_classes is 0, but must be at least 1"),
            (
                {"num_classes": 3, "label_to": "discriminator"},
                r"num_classes is 3, but StandardNormal\(dim=2\) has None; use a prior with as many classes",
            ),
            (
                {"num_classes": 3, "label_to": "discriminator", "prior": SwissRoll(num_classes=4)},
                r"num_classes is 3, but SwissRoll\(.*\) has 4; use a prior with as many classes",
            ),
        ],
    )
    def test_fields(self, changes, message):
        with pytest.raises(ValueError, match=message):
            model(**changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"encoder": nets.MLP((4,))},
                r"encoder returned shape \(6, 4\), but a deterministic code of StandardNormal\(dim=2\) needs \(6, 2\): "
                r"give its output the shape \(2,\)",
            ),
            ({"code": "gaussian"}, r"encoder returned shape \(6, 2\), but a gaussian code .* needs \(6, 4\)"),
            (
                {"likelihood": Gaussian()},
                r"decoder returned shape \(6, 3\), but Gaussian\(.*\) for x of shape \(6, 3\) needs \(6, 6\)",
            ),
            (
                {"discriminator": nets.MLP((2,))},
                r"discriminator returned shape \(6, 2\), but one logit for each code needs \(6, 1\)",
            ),
        ],
    )
    def test_networks_that_do_not_fit(self, batch, changes, message):
        autoencoder = model(**changes)
        traced = {name: Traced(getattr(autoencoder, name)) for name in ("encoder", "decoder", "discriminator")}
        with pytest.raises(ValueError, match=message):
            model(**(changes | traced)).init(jax.random.key(0), batch)

    def test_labels_and_data(self, batch):
        variables = variables_of(STYLE)
        with pytest.raises(ValueError, match="label is None, but this model has num_classes=3"):
            STYLE.sample(variables, jax.random.key(0), 4)
        with pytest.raises(ValueError, match="label is given, but this model has num_classes=None"):
            PLAIN.decode(variables_of(PLAIN), jnp.zeros((1, 2)), label=0)
        with pytest.raises(ValueError, match=r"the batch has \['x'\], but num_classes=3 needs 'label'"):
            PLACED.init(jax.random.key(0), {"x": batch["x"]})
        with pytest.raises(ValueError, match=r"x has shape \(6,\), but needs a batch axis and data axes"):
            PLAIN.init(jax.random.key(0), {"x": batch["x"][:, 0]})


def test_objectives_update_the_batch_statistics_of_their_own_parts():
    import flax.linen as nn

    class Normalized(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(self.features)(nn.BatchNorm(use_running_average=not train)(x))

    autoencoder = model(
        encoder=Normalized(2), decoder=Normalized(3), discriminator=Normalized(1), likelihood=Bernoulli()
    )
    batch = {"x": jax.random.bernoulli(jax.random.key(0), 0.3, (8, 3)).astype(jnp.float32)}
    params, state = autoencoder.init(jax.random.key(1), batch)
    for objective in autoencoder.objectives():
        _, (new_state, _) = jax.jit(objective.loss)(params, state, jax.random.key(2), batch, jnp.int32(0))
        changed = {
            part for part in state if not jax.tree.all(jax.tree.map(jnp.array_equal, state[part], new_state[part]))
        }
        assert changed == set(objective.wrt)
