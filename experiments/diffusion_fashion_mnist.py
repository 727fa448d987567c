"""Class-conditional diffusion on Fashion-MNIST: a U-Net or a transformer, with likelihoods of dequantized images.

Command: genjax train experiments/diffusion_fashion_mnist.py --seeds 3, on a GPU, then
genjax evaluate RUN --metrics frechet_distance precision_recall class_accuracy --features classifier:fashion_mnist
--num-samples 10000, and genjax evaluate RUN --likelihood-samples 4
Not yet run on an accelerator. To be measured, with the standard deviation over 3 seeds: the Fréchet distance of 10,000
samples from the test images on features of the project's classifier, and the FID, given the Inception weights
(``--features inception:FILE``); bits per dimension given the label, for uniformly dequantized images of 256 levels, as
a bound and by the probability flow. The same model at 8 x 8 pixels, ``experiments/diffusion_digits.py``, runs on CPUs.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, diffusion, nets
from genjax.arguments import PositiveFloat
from genjax.runner import frechet_score

LEVELS, SHAPE = 256, (28, 28, 1)


def to_images(x: jax.Array) -> jax.Array:
    """Quantize samples on [-1, 1] to images of 256 levels on [0, 1], by their bin."""
    return data.quantize(x, LEVELS, low=-1.0)


def experiment(
    net_name: Literal["unet", "dit"] = "unet",
    width: int = 64,
    dropout: float = 0.1,
    learning_rate: PositiveFloat = 5e-4,
    ema_decay: float = 0.9995,
    num_sampling_steps: int = 25,
    bfloat16: bool = True,
    steps: int = 40_000,
    batch_size: int = 256,
) -> Experiment:
    """Describe the run.

    Args:
      net_name: a U-Net with attention at 7 x 7 pixels, or a transformer of 8 layers.
      width: number of channels of the U-Net at 28 x 28 pixels, doubled below; a quarter of the transformer's features.
      dropout: dropout rate of channels before the last convolution of each block of the U-Net.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      num_sampling_steps: number of steps of DPM-Solver++, each with one network evaluation.
      bfloat16: whether the network computes in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    dtype = jnp.bfloat16 if bfloat16 else None
    net = (
        nets.UNet(width, attention_at=(7,), dropout=dropout, num_groups=min(8, width), dtype=dtype)
        if net_name == "unet"
        else nets.DiT(patch_size=2, features=4 * width, num_layers=8, num_heads=4, dtype=dtype)
    )
    model = diffusion.Diffusion(shape=SHAPE, net=net, num_classes=10, num_steps=num_sampling_steps)
    images = data.tfds("fashion_mnist", validation=1_000)
    return Experiment(
        model=model,
        data=images,
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
        ),
        ema_decay=ema_decay,
        steps=steps,
        batch_size=batch_size,
        sample_score=frechet_score(
            "classifier:fashion_mnist", images.splits["validation"], num_samples=2_000, display=to_images
        ),
        display=to_images,
    )
