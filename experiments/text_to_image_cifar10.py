"""Text to image on CIFAR-10: pictures of 32 x 32 pixels from prompts such as "a photo of a frog".

A U-Net, whose layers at 16 x 16 and 8 x 8 pixels attend to the words of a caption, is trained together with the encoder
of the captions. Captions name the class.

Command: genjax train experiments/text_to_image_cifar10.py, on a GPU, after tfds build cifar10, then
genjax sample RUN --prompt "a photo of a frog" --negative-prompt "a photo of a cat" --guidance 2 and
genjax evaluate RUN --metrics frechet_distance --features inception:FILE --num-samples 50000 --guidance 1.5
Not yet run on an accelerator. To be measured: the FID for guidance 1 to 5. The same method on pairs of digits,
``experiments/text_to_image_digits.py``, runs on CPUs.
"""

import jax
import jax.numpy as jnp
import optax

from genjax import Experiment, data, diffusion, nets
from genjax.arguments import PositiveFloat

LEVELS = 256
TEMPLATES = ("a photo of {a_name}", "a picture of {a_name}", "{a_name}", "{name}")


def to_images(x: jax.Array) -> jax.Array:
    """Quantize samples on [-1, 1] to images of 256 levels on [0, 1], by their bin."""
    return data.quantize(x, LEVELS, low=-1.0)


def experiment(
    width: int = 128,
    text_width: int = 64,
    dropout: float = 0.1,
    learning_rate: PositiveFloat = 5e-4,
    warmup_steps: int = 5_000,
    ema_lengths: tuple[float, ...] = (0.05, 0.1),
    num_sampling_steps: int = 25,
    bfloat16: bool = True,
    steps: int = 200_000,
    batch_size: int = 256,
) -> Experiment:
    """Describe the run.

    Args:
      width: number of channels of the U-Net at 32 x 32 pixels, doubled below.
      text_width: number of channels of the text encoder.
      dropout: dropout rate of channels before the last convolution of each block.
      learning_rate: learning rate of Adam after warm-up.
      warmup_steps: number of steps in which the learning rate rises from zero.
      ema_lengths: lengths of the power-function averages of the parameters; choose one with ``--ema``.
      num_sampling_steps: number of steps of DPM-Solver++, each with one network evaluation.
      bfloat16: whether the U-Net computes in bfloat16.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    images = data.captioned(data.tfds("cifar10"), TEMPLATES)
    model = diffusion.Diffusion(
        shape=(32, 32, 3),
        net=nets.UNet(
            width,
            multipliers=(1, 2, 2),
            num_blocks=3,
            attention_at=(16, 8),
            dropout=dropout,
            num_groups=min(32, width),
            dtype=jnp.bfloat16 if bfloat16 else None,
        ),
        text_encoder=nets.TextEncoder(
            num_tokens=images.condition_tokenizers["prompt"].num_tokens,
            length=images.spec()["prompt"].shape[0],
            features=text_width,
        ),
        num_steps=num_sampling_steps,
    )
    return Experiment(
        model=model,
        data=images,
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.adam(optax.linear_schedule(0.0, learning_rate, warmup_steps)),
        ema_lengths=ema_lengths,
        steps=steps,
        batch_size=batch_size,
        display=to_images,
    )
