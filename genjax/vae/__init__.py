"""Variational autoencoders."""

from genjax.vae.iwae import IWAE
from genjax.vae.vae import VAE

__all__ = ["IWAE", "VAE"]
