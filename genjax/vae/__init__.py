"""Variational autoencoders."""

from genjax.vae.adversarial_autoencoder import AdversarialAutoencoder
from genjax.vae.adversarial_variational_bayes import AdversarialVariationalBayes
from genjax.vae.factorized_categorical import FactorizedCategorical
from genjax.vae.iwae import IWAE
from genjax.vae.vae import VAE
from genjax.vae.vq_vae import VQVAE, VQVAEState
from genjax.vae.wasserstein_autoencoder import WassersteinAutoencoder

__all__ = [
    "IWAE",
    "VAE",
    "VQVAE",
    "AdversarialAutoencoder",
    "AdversarialVariationalBayes",
    "FactorizedCategorical",
    "VQVAEState",
    "WassersteinAutoencoder",
]
