"""Variational autoencoders."""

from genjax.vae.vae import VAE

__all__ = ["VAE"]
