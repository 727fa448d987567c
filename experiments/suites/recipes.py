"""What the models of a suite have in common: a recipe for each, and the experiment that follows from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

from genjax import Experiment, data, diffusion, ops, vae
from genjax.core import GenerativeModel
from genjax.nets import Net


@dataclass(frozen=True, kw_only=True)
class View:
    """How a model sees the data.

    Attributes:
      preprocess: transform of a batch.
      display: function from samples to what is compared; None for the default.
    """

    preprocess: Callable[..., Any] = data.unchanged
    display: Callable[..., Any] | None = None


def whole(levels: int) -> View:
    """Return a view of the levels themselves."""
    return View(display=lambda x: x / (levels - 1))


def unit(levels: int) -> View:
    """Return a view of levels on [0, 1]."""
    return View(preprocess=data.scale(levels=levels))


def smooth(levels: int, *, low: float = 0.0, high: float = 1.0) -> View:
    """Return a view of dequantized levels on [low, high]."""
    display = functools.partial(data.quantize, levels=levels, low=low, high=high)
    return View(preprocess=data.dequantize(levels, low=low, high=high), display=display)


def edm_of_images(data_scale: float) -> dict[str, Any]:
    """Return EDM's preconditioning and noise levels for pixels of this standard deviation on [-1, 1]."""
    return {
        "process": diffusion.processes.EDM(end=20.0),
        "parametrization": diffusion.parametrizations.Preconditioned(data_scale=data_scale),
        "times": diffusion.times.LogNormal(),
    }


@dataclass(frozen=True, kw_only=True)
class Autoencoders:
    """Autoencoders of the same parts.

    Attributes:
      latent_dim: length of the latent vector.
      likelihood: distribution of data given the decoder's outputs.
      encoder: network that returns means and log-variances.
      point_encoder: network that returns a latent vector.
      decoder: network from latent vectors.
    """

    latent_dim: int
    likelihood: ops.Likelihood
    encoder: Net
    point_encoder: Net
    decoder: Net

    def vae(self, **options: Any) -> vae.VAE:
        """Return a variational autoencoder."""
        return vae.VAE(
            latent_dim=self.latent_dim,
            encoder=self.encoder,
            decoder=self.decoder,
            likelihood=self.likelihood,
            **options,
        )

    def iwae(self) -> vae.IWAE:
        """Return an importance-weighted autoencoder."""
        return vae.IWAE(
            latent_dims=(self.latent_dim,),
            encoders=(self.encoder,),
            decoders=(self.decoder,),
            likelihood=self.likelihood,
            num_importance_samples=10,
        )

    def adversarial(self, discriminator: Net) -> vae.AdversarialAutoencoder:
        """Return an adversarial autoencoder."""
        return vae.AdversarialAutoencoder(
            prior=ops.StandardNormal(self.latent_dim),
            encoder=self.point_encoder,
            decoder=self.decoder,
            discriminator=discriminator,
            likelihood=self.likelihood,
        )

    def wasserstein(self, bandwidths: tuple[float, ...], penalty: float) -> vae.WassersteinAutoencoder:
        """Return a Wasserstein autoencoder."""
        return vae.WassersteinAutoencoder(
            prior=ops.StandardNormal(self.latent_dim),
            encoder=self.point_encoder,
            decoder=self.decoder,
            likelihood=self.likelihood,
            bandwidths=bandwidths,
            penalty=penalty,
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model and how it is trained.

    Attributes:
      model: function that makes the model.
      steps: number of training steps.
      view: how it sees the data.
      learning_rate: initial learning rate of AdamW, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      batch_size: number of examples in a minibatch.
      schedule: order of the objectives.
      beta: decay of AdamW's average of gradients.
      square_beta: decay of its average of squared gradients.
    """

    model: Callable[[], GenerativeModel]
    steps: int
    view: View = View()
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    schedule: tuple[str, ...] | None = None
    beta: float = 0.9
    square_beta: float = 0.999

    def experiment(self, dataset: data.Dataset, learning_rate_factor: float, steps: int | None) -> Experiment:
        """Return the experiment, which evaluates, samples and saves once, at its end."""
        steps = steps or self.steps
        schedule = optax.cosine_decay_schedule(learning_rate_factor * self.learning_rate, steps)
        adam = optax.adamw(schedule, b1=self.beta, b2=self.square_beta, weight_decay=self.weight_decay)
        whole = -(-steps // 100) * 100
        return Experiment(
            model=self.model(),
            data=dataset,
            preprocess=self.view.preprocess,
            display=self.view.display,
            optimizer=optax.chain(optax.clip_by_global_norm(1.0), adam),
            schedule=self.schedule,
            ema_decay=0.999,
            steps=steps,
            batch_size=self.batch_size,
            evaluate_every=whole,
            sample_every=whole,
            checkpoint_every=whole,
        )
