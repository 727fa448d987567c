"""Models of every family, of one size, on Fashion-MNIST; see fashion_mnist.toml.

Every model has 1,000,000 parameters ± 20 % in all of its networks, most of them convolutional, and is trained for the
same time, which the suite turns into steps on the machine at hand. The suite has not yet been run on an accelerator.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
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

SHAPE, LEVELS, NUM_CLASSES = (28, 28, 1), 256, 10
LATENT_DIM = 64
MEAN, DEVIATION = 0.286, 0.353  # of pixels on [0, 1]
SCALE = 2 * DEVIATION  # standard deviation of pixels on [-1, 1]
STEPS = 20_000  # without a suite
LOGIT = (flow.Logit(alpha=1e-6),)
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
    "glow",
    "maf",
    "pixel_cnn",
    "gated_pixel_cnn",
    "pixel_cnn_pp",
    "ddpm",
    "edm",
    "flow_matching",
    "diffusion_transformer",
    "mean_flow",
    "consistency",
    "conditional_diffusion",
    "variational_diffusion",
    "masked_diffusion",
    "energy_matching",
    "persistent",
    "gmmn",
    "drifting",
    "rbm",
]
WHOLE, UNIT, SMOOTH, CENTRED = whole(LEVELS), unit(LEVELS), smooth(LEVELS), smooth(LEVELS, low=-1.0)
STANDARD = smooth(LEVELS, low=-MEAN / DEVIATION, high=(1 - MEAN) / DEVIATION)


def autoencoders(width: int) -> Autoencoders:
    """Return autoencoders of discretized logistic distributions."""
    likelihood = ops.DiscretizedLogistic(levels=LEVELS)
    return Autoencoders(
        latent_dim=LATENT_DIM,
        likelihood=likelihood,
        encoder=nets.ConvEncoder((width, 2 * width), 2 * LATENT_DIM),
        point_encoder=nets.ConvEncoder((width, 2 * width), LATENT_DIM),
        decoder=nets.ConvDecoder((width, width), (28, 28, likelihood.num_outputs)),
    )


def game(*, width: int = 80, normalization: Any = "batch", **options: Any) -> gan.GAN:
    """Return a GAN of transposed and strided convolutions."""
    return gan.GAN(
        latent_dim=LATENT_DIM,
        generator=gan.DCGANGenerator((2 * width, width), SHAPE),
        discriminator=gan.DCGANDiscriminator((width, 2 * width), normalization=normalization),
        **options,
    )


def residual_game(**options: Any) -> gan.GAN:
    """Return a GAN of residual networks."""
    return gan.GAN(
        latent_dim=LATENT_DIM,
        generator=gan.ResNetGenerator((82, 82), SHAPE),
        discriminator=gan.ResNetDiscriminator((82, 82, 82, 82)),
        adversarial_loss=gan.Hinge(),
        **options,
    )


def relativistic_game() -> gan.GAN:
    """Return R3GAN."""
    return gan.GAN(
        latent_dim=LATENT_DIM,
        generator=gan.R3GANGenerator((104, 104, 104), SHAPE),
        discriminator=gan.R3GANDiscriminator((104, 104, 104)),
        adversarial_loss=gan.Relativistic(),
        penalties=(gan.R1(weight=0.5, fake_weight=0.5),),
    )


def denoising_net() -> nets.UNet:
    """Return the network of all diffusion models of continuous values but the transformer."""
    return nets.UNet(32, num_blocks=1, attention_at=(7,))


def denoiser(**options: Any) -> diffusion.Diffusion:
    """Return a diffusion model."""
    return diffusion.Diffusion(**({"shape": SHAPE, "net": denoising_net(), "num_steps": 50} | options))


def edm(**options: Any) -> diffusion.Diffusion:
    """Return a diffusion model with EDM's preconditioning and noise levels."""
    return denoiser(**edm_of_images(SCALE), **options)


def energy_model(rule: energy.Rule, kernel: Any, **options: Any) -> energy.EnergyModel:
    """Return a convolutional energy over a Gaussian."""
    return energy.EnergyModel(
        net=nn.Sequential((nets.ConvEncoder((64, 128), 144, activation=nn.swish), nn.swish, nn.Dense(1))),
        base=energy.Gaussian(SHAPE, std=1.0),
        rules=(rule,),
        kernel=kernel,
        num_steps=200,
        **options,
    )


def pixels(make: Any, features: int, **options: Any) -> Any:
    """Return an autoregressive model of the levels."""
    return make(shape=SHAPE, num_values=LEVELS, features=features, **options)


play = functools.partial(
    Recipe, view=CENTRED, steps=STEPS, schedule=("discriminator", "generator"), learning_rate=2e-4, beta=0.5
)
residual_play = functools.partial(play, schedule=("discriminator",) * 2 + ("generator",), beta=0.0, square_beta=0.9)
encoded = functools.partial(Recipe, view=UNIT, steps=STEPS)
dequantized = functools.partial(Recipe, view=SMOOTH, steps=STEPS)
centred = functools.partial(Recipe, view=CENTRED, steps=STEPS)
pixelwise = functools.partial(Recipe, view=WHOLE, steps=STEPS)
RECIPES: dict[str, Recipe] = {
    "vae": encoded(model=lambda: autoencoders(58).vae()),
    "beta_vae": encoded(model=lambda: autoencoders(58).vae(beta=4.0)),
    "iwae": encoded(model=lambda: autoencoders(58).iwae()),
    "aae": encoded(model=lambda: autoencoders(64).adversarial(nets.MLP((256, 256, 1)))),
    "wae": encoded(model=lambda: autoencoders(80).wasserstein((4.0, 8.0, 16.0, 32.0), 100.0)),
    "conditional_vae": encoded(model=lambda: autoencoders(58).vae(num_classes=NUM_CLASSES)),
    "gan": play(model=game),
    "least_squares_gan": play(model=lambda: game(adversarial_loss=gan.LeastSquares())),
    "wgan_gp": play(
        model=lambda: game(
            normalization="layer",
            adversarial_loss=gan.Wasserstein(),
            penalties=(gan.GradientPenalty(weight=10.0),),
        ),
        schedule=("discriminator",) * 5 + ("generator",),
        beta=0.0,
        square_beta=0.9,
    ),
    "spectral_gan": residual_play(model=residual_game),
    "packed_gan": play(model=lambda: game(pack=2)),
    "relativistic_gan": play(model=relativistic_game, beta=0.0, square_beta=0.99),
    "conditional_gan": residual_play(model=lambda: residual_game(num_classes=NUM_CLASSES)),
    "real_nvp": dequantized(
        model=lambda: flow.real_nvp_image(
            shape=SHAPE,
            num_scales=3,
            num_layers=4,
            features=48,
            num_blocks=2,
            preprocess_bijections=LOGIT,
        ),
    ),
    "glow": dequantized(
        model=lambda: flow.glow(shape=SHAPE, num_steps=16, features=48, preprocess_bijections=LOGIT),
    ),
    "maf": dequantized(
        model=lambda: flow.masked_autoregressive_flow(
            shape=SHAPE, num_layers=4, hidden=(100,), preprocess_bijections=LOGIT
        ),
    ),
    "pixel_cnn": pixelwise(model=lambda: pixels(autoregressive.pixel_cnn, 112, num_layers=8), learning_rate=1e-3),
    "gated_pixel_cnn": pixelwise(model=lambda: pixels(autoregressive.gated_pixel_cnn, 56, num_layers=8)),
    "pixel_cnn_pp": pixelwise(
        model=lambda: pixels(autoregressive.pixel_cnn_pp, 32, num_resolutions=3, num_blocks=2, dropout=0.1),
    ),
    "ddpm": centred(model=lambda: denoiser(sampler=diffusion.samplers.Ancestral())),
    "edm": centred(model=edm),
    "flow_matching": centred(
        model=lambda: denoiser(
            process=diffusion.processes.LinearPath(), parametrization=diffusion.parametrizations.Flow()
        ),
    ),
    "diffusion_transformer": centred(
        model=lambda: denoiser(net=nets.DiT(patch_size=4, features=96, num_layers=6, num_heads=4)),
    ),
    "mean_flow": centred(model=lambda: diffusion.MeanFlow(shape=SHAPE, net=denoising_net(), data_scale=SCALE)),
    "consistency": centred(
        model=lambda: diffusion.ConsistencyModel(
            denoiser=edm(),
            gap=diffusion.ShrinkingGap(steps_per_stage=2_000),
            times=diffusion.times.LogNormal(mean=-0.7, std=2.0),
        ),
    ),
    "conditional_diffusion": centred(model=lambda: edm(num_classes=NUM_CLASSES)),
    "variational_diffusion": pixelwise(
        model=lambda: diffusion.VariationalDiffusion(
            shape=SHAPE,
            net=nets.PeriodicFeatures(denoising_net(), num_values=LEVELS),
            num_values=LEVELS,
            num_steps=100,
        ),
        schedule=("bound",) * 4 + ("variance",),
    ),
    "masked_diffusion": pixelwise(
        model=lambda: diffusion.MaskedDiffusion(
            shape=SHAPE,
            num_values=LEVELS,
            net=nets.TokenTransformer(num_values=LEVELS, num_layers=5, num_heads=4, features=120, embed_level=False),
        ),
    ),
    "energy_matching": centred(
        model=lambda: energy_model(energy.FlowMatching(), energy.AnnealedLangevin(0.01, initial_temperature=0.0)),
    ),
    "persistent": centred(
        model=lambda: energy_model(
            energy.ContrastiveDivergence(num_steps=40, buffer_size=10_000, restart=0.1),
            energy.Langevin(1.0, 0.01**2 / 2, 1.0),
            penalties=(energy.EnergyMagnitude(weight=0.1),),
        ),
        learning_rate=3e-4,
    ),
    "gmmn": centred(
        model=lambda: moment_matching.GMMN(
            latent_dim=LATENT_DIM,
            generator=nets.ConvDecoder((192, 128), SHAPE),
            bandwidths=(2.0, 5.0, 10.0, 20.0, 40.0),
        ),
        batch_size=500,
    ),
    "drifting": centred(
        model=lambda: moment_matching.Drifting(
            latent_dim=LATENT_DIM,
            generator=gan.DCGANGenerator((192, 128), SHAPE),
            widths=(0.25, 0.75, 2.5),
        ),
        batch_size=500,
    ),
    "rbm": Recipe(
        steps=STEPS,
        view=STANDARD,  # Gaussian units have unit variance
        model=lambda: boltzmann.RBM(
            shape=SHAPE,
            num_hidden=1_250,
            negative_phase=boltzmann.Persistent(256),
            units=boltzmann.GaussianUnits(),
        ),
    ),
}


def experiment(
    method: Method = "vae", learning_rate_factor: PositiveFloat = 1.0, steps: PositiveInt | None = None
) -> Experiment:
    """Describe the run.

    Args:
      method: model and the way to train it.
      learning_rate_factor: factor on the learning rate of the recipe, which decays to zero along a cosine.
      steps: number of training steps; None for 20,000.
    """
    return RECIPES[method].experiment(data.tfds("fashion_mnist", validation=5_000), learning_rate_factor, steps)
