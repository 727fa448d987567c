"""Latent diffusion with text on Fashion-MNIST: clothes drawn from prompts such as "a photo of an ankle boot".

A variational autoencoder maps images of 28 x 28 pixels to 7 x 7 vectors, and a diffusion transformer, which attends to
the words of a caption, is trained on them together with the encoder of the captions. Captions name the class.

Command: genjax train experiments/text_to_image_fashion_mnist.py --seeds 3, on a GPU, then
genjax sample RUN --prompt "a photo of an ankle boot" --negative-prompt "a photo of a sneaker" --guidance 2 and
genjax evaluate RUN --metrics frechet_distance --features classifier:fashion_mnist --num-samples 10000
Not yet run on an accelerator. To be measured, with the standard deviation over 3 seeds: the fraction of samples of each
prompt that the project's classifier recognizes, at least 90 %, and the Fréchet distance of 10,000 samples from the test
images, on features of the classifier, for guidance 1 to 5. The same method on pairs of digits,
``experiments/text_to_image_digits.py``, runs on CPUs.
"""

import math

import jax.numpy as jnp
from text_to_image_digits import PatchDecoder, PatchEncoder, adam

from genjax import Experiment, data, diffusion, gradient_learner, latent, nets, ops, vae
from genjax.arguments import PositiveFloat

GRID = (7, 7)
TEMPLATES = ("a photo of {a_name}", "a picture of {a_name}", "{a_name}", "{name}")


def experiment(
    latent_channels: int = 4,
    autoencoder_width: int = 64,
    noise: PositiveFloat = 0.1,
    beta: PositiveFloat = 0.1,
    width: int = 256,
    num_layers: int = 8,
    text_width: int = 64,
    learning_rate: PositiveFloat = 5e-4,
    ema_decay: float = 0.9995,
    num_sampling_steps: int = 25,
    bfloat16: bool = True,
    autoencoder_steps: int = 10_000,
    steps: int = 40_000,
    batch_size: int = 256,
) -> Experiment:
    """Describe the run.

    Args:
      latent_channels: number of channels of the latents, on a grid of 7 x 7.
      autoencoder_width: number of channels of the autoencoder's networks at 14 x 14 pixels.
      noise: standard deviation of the Gaussian likelihood, on pixels in [0, 1].
      beta: weight of the KL divergence.
      width: number of channels of the diffusion transformer.
      num_layers: number of its layers.
      text_width: number of channels of the text encoder.
      learning_rate: peak learning rate of Adam in both stages, which decays to zero along a cosine.
      ema_decay: decay of the moving average of the prior's parameters, which is evaluated.
      num_sampling_steps: number of steps of DPM-Solver++, each with one network evaluation.
      bfloat16: whether the transformer computes in bfloat16.
      autoencoder_steps: number of training steps of the autoencoder, at most ``steps``.
      steps: number of training steps of the prior.
      batch_size: number of examples in a minibatch.
    """
    images = data.captioned(data.tfds("fashion_mnist", validation=1_000), TEMPLATES)
    autoencoder = vae.VAE(
        latent_dim=(*GRID, latent_channels),
        encoder=PatchEncoder(latent_channels, autoencoder_width),
        decoder=PatchDecoder(autoencoder_width),
        likelihood=ops.Gaussian(log_scale=math.log(noise)),
        beta=beta,
    )
    dtype = jnp.bfloat16 if bfloat16 else None
    text_encoder = nets.TextEncoder(
        num_tokens=images.condition_tokenizers["prompt"].num_tokens,
        length=images.spec()["prompt"].shape[0],
        features=text_width,
    )
    prior = latent.UnitScale(
        model=diffusion.Diffusion(
            shape=(*GRID, latent_channels),
            net=nets.DiT(patch_size=1, features=width, num_layers=num_layers, num_heads=4, dtype=dtype),
            text_encoder=text_encoder,
            num_steps=num_sampling_steps,
        )
    )
    model = latent.LatentModel(autoencoder=autoencoder, prior=prior, sample_codes=True)
    autoencoder_steps = min(autoencoder_steps, steps)
    return Experiment(
        model=model,
        data=images,
        preprocess=data.scale(),
        stages=latent.two_stages(
            model,
            autoencoder=gradient_learner(autoencoder, adam(learning_rate, autoencoder_steps)),
            prior=gradient_learner(prior, adam(learning_rate, steps), ema_decay=ema_decay),
            steps=(autoencoder_steps, steps),
            cache=True,
        ),
        variables=model.join_stages,
        batch_size=batch_size,
        display=lambda x: jnp.clip(x, 0, 1),  # means of a Gaussian may lie slightly outside
    )
