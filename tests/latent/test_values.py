"""The state of both parts of a latent model, and its bound by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import latent, nets, ops, vae
from genjax.core import Variables

X = jax.random.bernoulli(jax.random.key(9), 0.5, (6, 5)).astype(jnp.float32)


def a_latent_model():
    autoencoder = vae.VQVAE(
        encoder=nets.MLP((), output_shape=(2, 3)),
        decoder=nets.MLP((5,)),
        likelihood=ops.Bernoulli(),
        num_codes=4,
        code_dim=3,
        grid=(2,),
    )
    return latent.LatentModel(autoencoder=autoencoder, prior=vae.FactorizedCategorical(num_values=4))


def test_each_objective_returns_the_new_state_of_its_part():
    model = a_latent_model()
    variables = model.init(jax.random.key(0), {"x": X})
    first, second = (
        objective.loss(*variables, jax.random.key(1), {"x": X}, jnp.int32(0))[1][0] for objective in model.objectives()
    )
    part = model.part(variables, "autoencoder")
    _, (expected, _) = model.autoencoder.loss(*part, jax.random.key(1), {"x": X}, jnp.int32(0))
    np.testing.assert_array_equal(first["autoencoder"].codebook.counts, expected.codebook.counts)
    old = variables.state["autoencoder"].codebook.counts
    assert not np.array_equal(first["autoencoder"].codebook.counts, old)
    np.testing.assert_array_equal(second["autoencoder"].codebook.counts, old)
    assert first["prior"] == second["prior"] == {}


def test_the_bound_adds_the_log_mass_of_the_codes():
    model = a_latent_model()
    variables = model.init(jax.random.key(0), {"x": X})
    logits = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    variables = Variables(variables.params | {"prior.logits": jnp.asarray(logits)}, variables.state)
    codes = np.asarray(model.encode(variables, X))
    log_mass = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    prior = log_mass[np.arange(2)[None], codes].sum(axis=1)
    likelihood = model.autoencoder.log_likelihood(model.part(variables, "autoencoder"), jnp.asarray(codes), X)
    bound = model.log_prob_lower_bound(variables, jax.random.key(2), X)
    np.testing.assert_allclose(bound, np.asarray(likelihood) + prior, rtol=1e-5)
