"""Class-conditional diffusion on scikit-learn's digits, 8 x 8 pixels of 17 levels, with classifier-free guidance.

Command: genjax train experiments/diffusion_digits.py, then
genjax evaluate RUN --metrics frechet_distance precision_recall --features classifier:digits --num-samples 10000, and
genjax evaluate RUN --metrics class_accuracy log_prob_lower_bound --features classifier:digits --num-samples 2000
Reached: Fréchet distance of 10,000 samples (20 steps, no guidance) from the 360 test images, on features of the
project's classifier, 2.91 ± 0.05, precision 0.976 ± 0.000 and recall 0.952 ± 0.004; bound 55.0 ± 0.3 nats given the
label, at most 1.848 ± 0.007 bits per dimension of uniformly dequantized images; the classifier, whose test accuracy is
98.6 %, recognizes the requested class in 99.4 ± 0.1 % of 2,000 samples, and with --guidance 1.5 in all (mean ± sd of
seeds 0 to 2). 6 to 7 min per seed beside other work on 2 CPU cores (AMD EPYC, jax 0.10.2).
"""

from typing import Literal

import jax
import optax

from genjax import Experiment, data, diffusion, nets
from genjax.arguments import PositiveFloat
from genjax.runner import frechet_score

LEVELS = 17


def to_images(x: jax.Array) -> jax.Array:
    """Quantize samples on [-1, 1] to images of 17 levels on [0, 1], by their bin."""
    return data.quantize(x, LEVELS, low=-1.0)


def experiment(
    model_name: Literal["velocity", "edm", "flow_matching"] = "velocity",
    width: int = 32,
    dropout: float = 0.1,
    learning_rate: PositiveFloat = 2e-3,
    ema_decay: float = 0.999,
    ema_lengths: tuple[float, ...] = (),
    self_conditioning: bool = False,
    num_sampling_steps: int = 20,
    steps: int = 4_000,
    batch_size: int = 64,
) -> Experiment:
    """Describe the run.

    Args:
      model_name: velocity prediction on a cosine process, EDM's preconditioning and noise levels, or flow matching.
      width: number of channels of the U-Net at 8 x 8 pixels, doubled at 4 x 4.
      dropout: dropout rate of channels.
      learning_rate: initial learning rate of Adam, which decays to zero along a cosine.
      ema_decay: decay of the parameters' exponential moving average, which is evaluated.
      ema_lengths: lengths of power-function averages in its place, such as 0.05 and 0.1; choose one with ``--ema``.
      self_conditioning: whether the network receives its last estimate of the data.
      num_sampling_steps: number of steps of DPM-Solver++, each with one network evaluation.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    fields = {
        "velocity": {},
        "edm": {
            "process": diffusion.processes.EDM(),
            "parametrization": diffusion.parametrizations.Preconditioned(data_scale=0.75),
            "times": diffusion.times.LogNormal(),
        },
        "flow_matching": {
            "process": diffusion.processes.LinearPath(),
            "parametrization": diffusion.parametrizations.Flow(),
        },
    }
    model = diffusion.Diffusion(
        shape=(8, 8, 1),
        net=nets.UNet(
            width, multipliers=(1, 2), num_blocks=1, attention_at=(4,), dropout=dropout, num_groups=min(8, width)
        ),
        num_classes=10,
        num_steps=num_sampling_steps,
        self_conditioning=self_conditioning,
        **fields[model_name],
    )
    digits = data.digits()
    return Experiment(
        model=model,
        data=digits,
        preprocess=data.dequantize(LEVELS, low=-1.0),
        optimizer=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
        ),
        ema_decay=None if ema_lengths else ema_decay,
        ema_lengths=ema_lengths,
        steps=steps,
        batch_size=batch_size,
        evaluate_every=max(100, steps // 400 * 100),  # drawing the samples takes as long as 300 steps
        sample_score=frechet_score(
            "classifier:digits", digits.splits["validation"], num_samples=2_000, display=to_images
        ),
        display=to_images,
    )
