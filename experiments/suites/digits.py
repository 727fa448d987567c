"""Models of every family, of one size, on scikit-learn's digits, 8 x 8 pixels of 17 levels; see digits.toml.

Every model has 100,000 parameters ± 20 % in all of its networks, dense ones where a family does not need others, and as
many steps as take about half a minute for five seeds on two CPU cores (AMD EPYC, jax 0.10.2), compilation aside. The
learning rate of each is chosen among three on validation data: for 27 of 34 models the largest. Images come back to
the 17 levels before they are compared. Training took about 2 h 7 min and the measurements 1 h 14 min on 2 CPU cores,
beside other work but for latency and throughput; ``genjax choose --data digits`` reads the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from recipes import Autoencoders, Recipe, edm_of_images, smooth, unit, whole

from genjax import (
    Experiment,
    autoregressive,
    boltzmann,
    data,
    diffusion,
    energy,
    flow,
    gan,
    moment_matching,
    nets,
    ops,
)
from genjax.arguments import PositiveFloat, PositiveInt

SHAPE, LEVELS, NUM_CLASSES = (8, 8, 1), 17, 10
LATENT_DIM = 16
SCALE = 0.75  # standard deviation of pixels on [-1, 1]
Method = Literal[
    "vae",
    "beta_vae",
    "iwae",
    "aae",
    "wae",
    "conditional_vae",
    "gan",
    "least_squares_gan",
    "wgan_gp",
    "spectral_gan",
    "packed_gan",
    "relativistic_gan",
    "conditional_gan",
    "real_nvp",
    "maf",
    "nsf_coupling",
    "nsf_autoregressive",
    "made",
    "pixel_cnn",
    "gated_pixel_cnn",
    "pixel_cnn_pp",
    "ddpm",
    "edm",
    "flow_matching",
    "mean_flow",
    "consistency",
    "conditional_diffusion",
    "variational_diffusion",
    "masked_diffusion",
    "noise_contrastive",
    "persistent",
    "gmmn",
    "drifting",
    "rbm",
]
WHOLE, UNIT, SMOOTH, CENTRED = whole(LEVELS), unit(LEVELS), smooth(LEVELS), smooth(LEVELS, low=-1.0)


def autoencoders(width: int) -> Autoencoders:
    """Return autoencoders of discretized logistic distributions."""
    likelihood = ops.DiscretizedLogistic(levels=LEVELS)
    return Autoencoders(
        latent_dim=LATENT_DIM,
        likelihood=likelihood,
        encoder=nets.MLP((width, width, 2 * LATENT_DIM)),
        point_encoder=nets.MLP((width, width, LATENT_DIM)),
        decoder=nets.MLP((width, width), output_shape=(8, 8, likelihood.num_outputs)),
    )


def game(*, width: int = 190, normalization: Any = None, **options: Any) -> gan.GAN:
    """Return a GAN of dense networks."""
    return gan.GAN(
        latent_dim=LATENT_DIM,
        generator=gan.MLPGenerator((width, width), output_shape=SHAPE, output_activation=jnp.tanh),
        discriminator=gan.MLPDiscriminator((width, width), normalization=normalization),
        **options,
    )


def denoising_net() -> nets.DenoisingMLP:
    """Return the network of all diffusion models of continuous values."""
    return nets.DenoisingMLP((162, 162), embedding_features=64, fourier_features=0)


def denoiser(**options: Any) -> diffusion.Diffusion:
    """Return a diffusion model."""
    return diffusion.Diffusion(shape=SHAPE, net=denoising_net(), num_steps=50, **options)


def edm(**options: Any) -> diffusion.Diffusion:
    """Return a diffusion model with EDM's preconditioning and noise levels."""
    return denoiser(**edm_of_images(SCALE), **options)


def energy_model(rule: energy.Rule, kernel: Any, **options: Any) -> energy.EnergyModel:
    """Return an energy model over a Gaussian."""
    return energy.EnergyModel(
        net=nets.MLP((285, 285, 1), activation=nn.silu),
        base=energy.Gaussian(SHAPE, std=SCALE),
        rules=(rule,),
        kernel=kernel,
        num_steps=200,
        **options,
    )


def pixels(make: Callable[..., Any], features: int, **options: Any) -> Any:
    """Return an autoregressive model of the levels."""
    return make(shape=SHAPE, num_values=LEVELS, features=features, dropout=0.3, **options)


LANGEVIN = energy.Langevin(1.0, 0.01**2 / 2, 1.0)
play = functools.partial(Recipe, view=CENTRED, schedule=("discriminator", "generator"), learning_rate=5e-4, beta=0.5)
pixelwise = functools.partial(Recipe, view=WHOLE, learning_rate=3e-3, weight_decay=1.0)
dequantized = functools.partial(Recipe, view=SMOOTH, weight_decay=1.0)
dense = functools.partial(Recipe, view=CENTRED)
encoded = functools.partial(Recipe, view=UNIT, weight_decay=0.1)  # there are only 1,257 images
slopes = gan.R1(weight=0.5, fake_weight=0.5)
RECIPES: dict[str, Recipe] = {
    "vae": encoded(steps=6_500, model=lambda: autoencoders(172).vae()),
    "beta_vae": encoded(steps=6_500, model=lambda: autoencoders(172).vae(beta=4.0)),
    "iwae": encoded(steps=1_100, model=lambda: autoencoders(172).iwae()),
    "aae": encoded(steps=4_100, model=lambda: autoencoders(150).adversarial(nets.MLP((150, 150, 1)))),
    "wae": encoded(steps=5_700, model=lambda: autoencoders(172).wasserstein((1.0, 2.0, 4.0, 8.0), 100.0)),
    "conditional_vae": encoded(steps=5_200, model=lambda: autoencoders(172).vae(num_classes=NUM_CLASSES)),
    "gan": play(steps=5_600, model=game),
    "least_squares_gan": play(steps=5_500, model=lambda: game(adversarial_loss=gan.LeastSquares())),
    "wgan_gp": play(
        steps=1_200,
        model=lambda: game(adversarial_loss=gan.Wasserstein(), penalties=(gan.GradientPenalty(weight=10.0),)),
        schedule=("discriminator",) * 5 + ("generator",),
        learning_rate=3e-4,
        beta=0.0,
        square_beta=0.9,
    ),
    "spectral_gan": play(steps=5_500, model=lambda: game(adversarial_loss=gan.Hinge(), normalization="spectral")),
    "packed_gan": play(steps=6_600, model=lambda: game(width=175, pack=2)),
    "relativistic_gan": play(
        steps=3_200, model=lambda: game(adversarial_loss=gan.Relativistic(), penalties=(slopes,)), beta=0.0
    ),
    "conditional_gan": play(steps=4_700, model=lambda: game(num_classes=NUM_CLASSES)),
    "real_nvp": dequantized(steps=3_800, model=lambda: flow.real_nvp(shape=SHAPE, num_layers=10, hidden=(62, 62))),
    "maf": dequantized(
        steps=6_200, model=lambda: flow.masked_autoregressive_flow(shape=SHAPE, num_layers=4, hidden=(88, 88))
    ),
    "nsf_coupling": dequantized(
        steps=1_300, model=lambda: flow.neural_spline_flow(shape=SHAPE, num_layers=4, hidden=(32,), num_bins=8)
    ),
    "nsf_autoregressive": dequantized(
        steps=1_500,
        model=lambda: flow.neural_spline_flow(
            shape=SHAPE, kind="autoregressive", num_layers=2, hidden=(32,), num_bins=8
        ),
    ),
    "made": pixelwise(
        steps=5_700,
        model=lambda: autoregressive.MADE(shape=SHAPE, num_values=LEVELS, features=(40,)),
        learning_rate=6e-3,
    ),
    "pixel_cnn": pixelwise(batch_size=32, steps=200, model=lambda: pixels(autoregressive.pixel_cnn, 48, num_layers=4)),
    "gated_pixel_cnn": pixelwise(
        batch_size=32, steps=200, model=lambda: pixels(autoregressive.gated_pixel_cnn, 27, num_layers=4)
    ),
    "pixel_cnn_pp": pixelwise(
        batch_size=32,
        steps=200,
        model=lambda: pixels(autoregressive.pixel_cnn_pp, 17, num_resolutions=2, num_blocks=1, num_components=5),
    ),
    "ddpm": dense(steps=6_600, model=lambda: denoiser(sampler=diffusion.samplers.Ancestral())),
    "edm": dense(steps=6_600, model=edm),
    "flow_matching": dense(
        steps=6_600,
        model=lambda: denoiser(
            process=diffusion.processes.LinearPath(), parametrization=diffusion.parametrizations.Flow()
        ),
    ),
    "mean_flow": dense(
        steps=5_000,
        model=lambda: diffusion.MeanFlow(shape=SHAPE, net=denoising_net(), data_scale=SCALE),
    ),
    "consistency": dense(
        steps=5_500,
        model=lambda: diffusion.ConsistencyModel(
            denoiser=edm(),
            gap=diffusion.ShrinkingGap(steps_per_stage=500),
            times=diffusion.times.LogNormal(mean=-0.7, std=2.0),
        ),
    ),
    "conditional_diffusion": dense(steps=6_600, model=lambda: edm(num_classes=NUM_CLASSES)),
    "variational_diffusion": Recipe(
        steps=600,
        model=lambda: diffusion.VariationalDiffusion(
            shape=SHAPE,
            net=nets.PeriodicFeatures(
                nets.DenoisingMLP((96, 96), embedding_features=64, fourier_features=0), num_values=LEVELS
            ),
            num_values=LEVELS,
            num_steps=100,
        ),
        view=WHOLE,
        schedule=("bound",) * 4 + ("variance",),
    ),
    "masked_diffusion": Recipe(
        batch_size=32,
        steps=300,
        model=lambda: diffusion.MaskedDiffusion(
            shape=SHAPE,
            num_values=LEVELS,
            net=nets.TokenTransformer(num_values=LEVELS, num_layers=2, num_heads=4, features=64, embed_level=False),
        ),
        view=WHOLE,
        weight_decay=0.1,
        learning_rate=2e-3,
    ),
    "noise_contrastive": dense(
        steps=2_000,
        model=lambda: energy_model(energy.NoiseContrastive(num_noise=4), energy.MALA(0.01)),
    ),
    "persistent": dense(
        steps=600,
        model=lambda: energy_model(
            energy.ContrastiveDivergence(num_steps=20, buffer_size=5_000, restart=0.1),
            LANGEVIN,
            penalties=(energy.EnergyMagnitude(weight=0.1),),
        ),
        learning_rate=3e-4,
    ),
    "gmmn": dense(
        steps=1_000,
        model=lambda: moment_matching.GMMN(
            latent_dim=LATENT_DIM,
            generator=nets.MLP((277, 277), output_shape=SHAPE),
            bandwidths=(0.5, 1.0, 2.0, 4.0, 8.0),
        ),
        batch_size=500,
    ),
    "drifting": dense(
        steps=1_300,
        model=lambda: moment_matching.Drifting(
            latent_dim=LATENT_DIM,
            generator=gan.MLPGenerator((277, 277), SHAPE, output_activation=jnp.tanh),
            widths=(0.25, 0.75, 2.5),
        ),
        batch_size=500,
    ),
    "rbm": Recipe(
        steps=1_600,
        model=lambda: boltzmann.RBM(
            shape=SHAPE,
            num_hidden=90,
            negative_phase=boltzmann.Persistent(128),
            units=boltzmann.SoftmaxUnits(LEVELS),
        ),
        view=WHOLE,
    ),
}


def experiment(
    method: Method = "vae", learning_rate_factor: PositiveFloat = 1.0, steps: PositiveInt | None = None
) -> Experiment:
    """Describe the run.

    Args:
      method: model and the way to train it.
      learning_rate_factor: factor on the learning rate of the recipe, which decays to zero along a cosine.
      steps: number of training steps; None for those of the recipe.
    """
    return RECIPES[method].experiment(data.digits(), learning_rate_factor, steps)
