"""Conditional GANs on scikit-learn's digits, 8 x 8 pixels of 17 levels: DCGAN, SN-GAN, BigGAN, R3GAN, or MLPs.

Command: genjax train experiments/gan_digits.py --seeds 3, then
genjax evaluate RUN --metrics frechet_distance --features classifier:digits --num-samples 10000
Reached: Fréchet distance of 10,000 samples from the 360 test images, on features of the project's classifier, 6.05 ±
0.22 with DCGAN (sd of seeds 0 to 2); 3 min 26 s beside other work on 2 CPU cores (AMD EPYC, jax 0.10.2) for the three
seeds. With --learning-rate 1e-3 --steps 4000, 4.21 ± 0.16 with --architecture sngan (25 min for three seeds on one of
two busy cores) and 4.81 ± 0.54 with biggan (33 min); at the default learning rate and number of steps these two
reach 18.1 and 11.9 (one seed). One seed of mlp with --steps 3000: 8.57 (40 s). With --architecture r3gan
--learning-rate 3e-3 --penalty 3 --steps 1500, 6.73 ± 0.75 (28 min for three seeds on one of two busy cores), a budget
of time like sngan's and networks of 29 and 28 thousand parameters where sngan has 46 and 28, so that sngan stays the
best recipe for this size. The Fréchet distance from the 180 validation images still fell at the end, and after 500
steps it was 29.5 where --learning-rate 1e-3 --penalty 1 had 97.5 (one seed).
"""

from typing import Any, Literal

import jax
import optax

from genjax import Experiment, data, gan
from genjax.arguments import PositiveFloat
from genjax.runner import frechet_score

SHAPE = (8, 8, 1)


def players(architecture: str, width: int) -> dict[str, Any]:
    """Return the two networks as fields of the model."""
    match architecture:
        case "mlp":
            units = (4 * width, 4 * width)
            generator = gan.MLPGenerator(units, SHAPE, normalization="batch", output_activation=jax.nn.tanh)
            discriminator = gan.MLPDiscriminator(units)
        case "dcgan":
            generator = gan.DCGANGenerator((2 * width, width), SHAPE)
            discriminator = gan.DCGANDiscriminator((width, 2 * width))
        case "sngan":
            generator = gan.ResNetGenerator((width, width), SHAPE)
            discriminator = gan.ResNetDiscriminator((width, width), num_downsamplings=1)
        case "r3gan":
            generator = gan.R3GANGenerator((width, width), SHAPE, num_blocks=1)
            discriminator = gan.R3GANDiscriminator((width, width), num_blocks=1)
        case _:
            generator = gan.BigGANGenerator((width, width), SHAPE, embedding_dim=width, attention_at=4)
            discriminator = gan.BigGANDiscriminator((width, width), num_downsamplings=1, attention_at=4)
    return {"generator": generator, "discriminator": discriminator}


def to_images(x: jax.Array) -> jax.Array:
    """Map samples on [-1, 1], which R3GAN may leave, to images on [0, 1]."""
    return jax.numpy.clip((x + 1) / 2, 0, 1)


def experiment(
    architecture: Literal["mlp", "dcgan", "sngan", "biggan", "r3gan"] = "dcgan",
    width: int = 32,
    latent_dim: int = 32,
    learning_rate: PositiveFloat = 2e-4,
    discriminator_turns: int = 2,
    penalty: PositiveFloat = 1.0,
    steps: int = 2_000,
    batch_size: int = 64,
) -> Experiment:
    """Describe the run.

    Args:
      architecture: architecture of both networks: dense layers, convolutions with batch normalization (DCGAN), residual
        blocks with a spectrally normalized discriminator (SN-GAN), or the same with noise in every block and attention
        (BigGAN), or residual blocks without normalization and the relativistic loss (R3GAN).
      width: number of channels of the blocks; dense layers have four times as many units.
      latent_dim: dimension of the noise vector.
      learning_rate: learning rate of Adam.
      discriminator_turns: number of discriminator steps per generator step with spectral normalization; 1 without it.
      penalty: initial weight of the R1 and R2 penalties of R3GAN, which decays to a tenth.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    hinge, modern = architecture in ("sngan", "biggan"), architecture == "r3gan"
    slopes = gan.R1(weight=penalty, fake_weight=penalty)
    model = gan.GAN(
        latent_dim=latent_dim,
        **players(architecture, width),
        adversarial_loss=gan.Hinge() if hinge else gan.Relativistic() if modern else gan.NonSaturating(),
        penalties=(gan.AnnealedPenalty(penalty=slopes, final_scale=0.1, num_steps=steps),) if modern else (),
        num_classes=10,
    )
    digits = data.digits()
    b1, b2 = (0.0, 0.9) if hinge else (0.0, 0.99) if modern else (0.5, 0.999)
    rate = optax.cosine_decay_schedule(learning_rate, steps, alpha=0.25) if modern else learning_rate
    return Experiment(
        model=model,
        data=digits,
        preprocess=data.scale(levels=17, low=-1.0),
        optimizer=optax.adam(rate, b1=b1, b2=b2),
        schedule=("discriminator",) * (discriminator_turns if hinge else 1) + ("generator",),
        ema_decay=0.999,
        # Averaged parameters need their own batch statistics.
        variables=lambda finished: model.standing_statistics(finished["model"], jax.random.key(0)),
        steps=steps,
        batch_size=batch_size,
        sample_score=frechet_score(
            "classifier:digits", digits.splits["validation"], num_samples=2_000, display=to_images
        ),
        display=to_images,
    )
