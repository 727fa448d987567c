"""Guidance: denoisers made of others, for samplers.

Classifier-free guidance goes from what a denoiser says without a label towards, and beyond, what it says with one,

    ε̂ = ε̂(∅) + w (ε̂(y) − ε̂(∅)),                                                                                  (1)

classifier guidance adds the gradient of a classifier of noisy data to the score,

    ε̂ = ε̂ − w σ ∇ log p(y | x_t),                                                                                (2)

and dynamic thresholding keeps x̂₀ in the range of data: of every example, the values beyond the p-th percentile s of its
magnitudes are cut off, and where s exceeds 1 all are divided by it.

Equation 1: Jonathan Ho and Tim Salimans 2022, arXiv:2207.12598, with w = 1 for none; the interval: Tuomas Kynkäänniemi
et al. 2024, arXiv:2404.07724. Equation 2: Prafulla Dhariwal and Alex Nichol 2021, arXiv:2105.05233. Thresholds: Chitwan
Saharia et al. 2022, arXiv:2205.11487.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.diffusion.parametrization import Prediction, per_example
from genjax.diffusion.process import NoiseProcess, level
from genjax.diffusion.sampling import Denoise
from genjax.ops import check_at_least, one_hot_label

LabelledDenoise = Callable[[Array, Array, Array], Prediction]  # x_t (N, ...), t () and labels (N,) -> x₀ and ε


def classifier_free(
    denoise: LabelledDenoise,
    label: Array | int,
    none: int,
    weight: float,
    active: Callable[[Array], Array] | None = None,
) -> Denoise:
    """Return the denoiser of equation 1, which calls the other once, for both of its terms.

    Args:
      denoise: of labels too.
      label: y, for all or (N,).
      none: ∅.
      weight: w.
      active: from a time to whether there is guidance; where there is none, the second term is not computed. None for
        guidance at all times.
    """

    def plain(x: Array, t: Array) -> Prediction:
        return denoise(x, t, jnp.broadcast_to(jnp.asarray(label), (len(x),)))

    def guided(x: Array, t: Array) -> Prediction:
        labels = jnp.broadcast_to(jnp.asarray(label), (len(x),))
        both = denoise(jnp.concatenate([x, x]), t, jnp.concatenate([labels, jnp.full_like(labels, none)]))
        with_label, without = (jax.tree.map(lambda a, i=i: jnp.split(a, 2)[i], both) for i in range(2))
        return jax.tree.map(lambda y, n: n + weight * (y - n), with_label, without)  # equation 1

    if active is None:
        return guided
    return lambda x, t: jax.lax.cond(active(t), guided, plain, x, t)


def by_classifier(
    denoise: Denoise, process: NoiseProcess, log_prob: Callable[[Array, Array], Array], weight: float = 1.0
) -> Denoise:
    """Return the denoiser of equation 2; where α = 0 it is NaN.

    Args:
      denoise: without labels.
      process: the noise process.
      log_prob: of the wanted labels, from x_t (N, ...) and t () to log p(y | x_t), (N,), nats.
      weight: w; 1 for Bayes' rule.
    """
    check_at_least("weight", weight, 0)

    def guided(x: Array, t: Array) -> Prediction:
        here, noise = level(process, t), denoise(x, t).noise
        gradient = jax.grad(lambda x: jnp.sum(log_prob(x, t)))(x)
        noise = noise - weight * here.sigma * gradient  # equation 2
        return Prediction((x - here.sigma * noise) / here.alpha, noise)

    return guided


def thresholded(denoise: Denoise, process: NoiseProcess, percentile: float = 99.5) -> Denoise:
    """Return a denoiser whose x̂₀ lies in [-1, 1].

    Args:
      denoise: the denoiser.
      process: the noise process.
      percentile: p, in (0, 100]; 100 divides only.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}, but must be in (0, 100]; 99.5 is usual")

    def kept(x: Array, t: Array) -> Prediction:
        here, data = level(process, t), denoise(x, t).data
        largest = jnp.percentile(jnp.abs(data.reshape(len(data), -1)), percentile, axis=1)
        limit = per_example(jnp.maximum(largest, 1.0), data)
        data = jnp.clip(data, -limit, limit) / limit
        return Prediction(data, (x - here.alpha * data) / here.sigma)

    return kept


def check_guidance(
    weight: float,
    interval: tuple[float, float] | None,
    label: Array | int | None,
    num_classes: int | None,
    label_dropout: float,
) -> None:
    """Refuse guidance that a model cannot give, and labels that it has not.

    Raises:
      ValueError: for a negative weight, a label that is missing or not wanted or not one of the classes, a model that
        was not trained for guidance, or an interval that is none.
    """
    check_at_least("guidance", weight, 0, "; 1 is none")
    if label is not None:
        one_hot_label(label, num_classes, np.size(label))
    if weight != 1.0:
        if label is None:
            raise ValueError(
                f"guidance is {weight}, but there is no label to guide to (label is None, num_classes is "
                f"{num_classes}); train with num_classes and give a label, or leave guidance at 1"
            )
        if label_dropout == 0:
            raise ValueError(
                f"guidance is {weight}, but this model was trained with label_dropout=0 and does not know data without "
                "labels; train with 0.1, or leave guidance at 1"
            )
    if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(f"guidance_interval is {interval}, but must be two rising noise levels in [0, 1]")
