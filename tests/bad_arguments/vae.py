"""Variational autoencoders, and methods that all of them share."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import nets, ops, vae
from genjax.core import Variables

PACKAGES = (vae,)
NET, X = nets.MLP((4,)), jnp.zeros((3, 5))
VAE = vae.VAE(latent_dim=2, encoder=NET, decoder=NET, likelihood=ops.Bernoulli())
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0), "num_samples": 2}
PAIR = {"encoder": NET, "decoder": NET, "likelihood": ops.Bernoulli()}
CASES = (
    partial(vae.VAE, latent_dim=2, **PAIR),
    partial(vae.VQVAE, num_codes=4, code_dim=2, grid=(2,), **PAIR),
    partial(vae.IWAE, latent_dims=(2,), encoders=(NET,), decoders=(NET,), likelihood=ops.Bernoulli()),
    partial(vae.AdversarialAutoencoder, prior=ops.StandardNormal(2), discriminator=NET, **PAIR),
    partial(vae.WassersteinAutoencoder, prior=ops.StandardNormal(2), bandwidths=(1.0,), **PAIR),
    partial(vae.AdversarialVariationalBayes, latent_dim=2, noise_dim=3, discriminator=NET, **PAIR),
    partial(vae.FactorizedCategorical, num_values=3),
    partial(VAE.init, key=SAMPLE["key"], batch={"x": X}),
    partial(VAE.sample, **SAMPLE),
    partial(VAE.log_prob_lower_bound, x=X, **SAMPLE),
    partial(VAE.log_prob_estimate, x=X, **SAMPLE),
    partial(VAE.encode, variables=SAMPLE["variables"], x=X),
)
