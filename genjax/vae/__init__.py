"""Variational autoencoders."""

from genjax.vae.adversarial_autoencoder import AdversarialAutoencoder
from genjax.vae.adversarial_variational_bayes import AVB
from genjax.vae.categorical import Categorical
from genjax.vae.iwae import IWAE
from genjax.vae.vae import VAE
from genjax.vae.vq_vae import VQVAE

__all__ = ["AVB", "IWAE", "VAE", "VQVAE", "AdversarialAutoencoder", "Categorical"]
