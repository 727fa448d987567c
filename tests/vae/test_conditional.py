"""Label-conditional models with weights set by hand, so that all results are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import capabilities, latent, nets, ops, vae
from genjax.core import Variables

TEMPLATES = np.array([[-3.0, 0.0, 3.0], [2.0, -1.0, 0.5]])  # outputs of the decoder by class, for any latent
MEANS = np.array([[1.0, -2.0], [0.0, 0.5]])  # means of the encoder by class, for any x
MODEL = vae.VAE(
    latent_dim=2,
    encoder=nets.MLP((4,)),
    decoder=nets.MLP((3,)),
    likelihood=ops.Gaussian(log_scale=0.0),
    num_classes=2,
)
LABEL = jnp.array([1, 0, 0, 1])
X = jnp.arange(12.0).reshape(4, 3) / 10


@pytest.fixture(scope="module")
def variables():
    encoder = np.zeros((5, 4))
    encoder[3:, :2] = MEANS  # inputs are x and then the one-hot label; log-variances stay 0
    decoder = np.concatenate([np.zeros((2, 3)), TEMPLATES])

    def layer(kernel):
        return {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.zeros(kernel.shape[1])}}

    return Variables({"encoder": layer(encoder), "decoder": layer(decoder)}, {"encoder": {}, "decoder": {}})


def test_init_includes_the_label(variables):
    initialized = MODEL.init(jax.random.key(0), {"x": X, "label": LABEL})
    assert jax.tree.map(jnp.shape, initialized) == jax.tree.map(jnp.shape, variables)
    assert isinstance(MODEL, capabilities.HasConditions)


def test_every_method_follows_the_label(variables):
    expected = TEMPLATES[np.asarray(LABEL)]
    code = jnp.zeros((4, 2))
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(0), 4, label=LABEL, mean=True), expected)
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(0), 4, label=1, mean=True), TEMPLATES[[1] * 4])
    np.testing.assert_allclose(MODEL.decode(variables, code, label=LABEL), expected)
    np.testing.assert_allclose(MODEL.reconstruct(variables, jax.random.key(0), X, label=LABEL), expected)
    np.testing.assert_allclose(latent.interpolate(MODEL, variables, X, X, 2, label=LABEL)[:, 1], expected)
    np.testing.assert_allclose(MODEL.encode(variables, X, label=LABEL), MEANS[np.asarray(LABEL)])


def test_loss_and_likelihoods_follow_the_label(variables):
    log_prob = stats.norm.logpdf(X, TEMPLATES[np.asarray(LABEL)]).sum(1)  # p(x | z, label) does not depend on z
    kl = 0.5 * (MEANS[np.asarray(LABEL)] ** 2).sum(1)
    loss, _ = MODEL.loss(*variables, jax.random.key(0), {"x": X, "label": LABEL}, jnp.int32(0))
    np.testing.assert_allclose(loss, (kl - log_prob).mean(), rtol=1e-5)
    elbo = MODEL.log_prob_lower_bound(variables, jax.random.key(1), X, 20_000, label=LABEL, chunk_size=5_000)
    np.testing.assert_allclose(elbo, log_prob - kl, atol=0.1)
    estimate = MODEL.log_prob_estimate(variables, jax.random.key(2), X, 20_000, label=LABEL, chunk_size=5_000)
    np.testing.assert_allclose(estimate, log_prob, atol=0.25)


def test_an_unconditional_model_ignores_labels_in_batches_and_rejects_them_as_arguments():
    model = vae.VAE(
        latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((3,)), likelihood=ops.Gaussian(log_scale=0.0)
    )
    variables = model.init(jax.random.key(0), {"x": X, "label": LABEL})
    with pytest.raises(ValueError, match="label is given, but this model has num_classes=None; leave it out"):
        model.sample(variables, jax.random.key(0), 4, label=1)


def test_labels_are_checked(variables):
    key = jax.random.key(0)  # unused, because errors are raised first
    with pytest.raises(ValueError, match=r"label is None, but this model has num_classes=2; give label=0"):
        MODEL.sample(variables, key, 4)
    with pytest.raises(ValueError, match=r"the batch has \['x'\], but num_classes=2 needs 'label'"):
        MODEL.init(key, {"x": X})
    for label in (2, -1, jnp.array([0, 1, 2, 0])):
        with pytest.raises(ValueError, match=r"label is (2|-1), but must be in 0, ..., 1"):
            MODEL.sample(variables, key, 4, label=label)
    with pytest.raises(ValueError, match=r"dtype float32 and shape \(4,\), but must be one integer or int32 \(4,\)"):
        MODEL.sample(variables, key, 4, label=jnp.zeros(4))
    with pytest.raises(ValueError, match=r"shape \(3,\), but must be one integer or int32 \(4,\)"):
        MODEL.encode(variables, X, label=jnp.zeros(3, jnp.int32))
