"""Guidance: denoisers modified for sampling.

Classifier-free guidance extrapolates from the denoiser without a condition to the one with a condition,

    ε̂ = ε̂(∅) + w (ε̂(y) − ε̂(∅)),                                                                                  (1)

where a negative prompt may take the place of ∅, so that samples also move away from it. Classifier guidance adds the
gradient of a classifier of noisy data to the score,

    ε̂ = ε̂ − w σ ∇ log p(y | x_t),                                                                                (2)

and dynamic thresholding keeps x̂₀ in the range of the data: with s the p-th percentile of an example's magnitudes, at
least 1, its values are clipped to [−s, s] and divided by s.

Equation 1: Jonathan Ho and Tim Salimans 2022, arXiv:2207.12598, where w = 1 is no guidance; the guidance interval:
Tuomas Kynkäänniemi et al. 2024, arXiv:2404.07724. Equation 2: Prafulla Dhariwal and Alex Nichol 2021, arXiv:2105.05233.
Dynamic thresholding: Chitwan Saharia et al. 2022, arXiv:2205.11487.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le

from genjax.arguments import Cure, NonNegativeFloat, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.conditioning import repeat_rows
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import NoiseProcess, level_at
from genjax.diffusion.samplers import Denoise

GuidanceWeight = Annotated[float, Ge(0), Cure("; 1 is no guidance")]
Percentile = Annotated[float, Gt(0), Le(100), Cure("; 99.5 is usual")]
ConditionalDenoise = Callable[[Array, Array, PyTree], Prediction]  # x_t (N, ...), t () and a condition -> x₀ and ε


@check_arguments
def classifier_free_guidance(
    denoise: ConditionalDenoise,
    condition: PyTree,
    null: PyTree,
    weight: float,
    is_active: Callable[[Array], Array] | None = None,
) -> Denoise:
    """Return the denoiser of equation 1. It evaluates both terms in one call of ``denoise``.

    Args:
      denoise: denoiser that takes conditions.
      condition: y, a pytree of arrays with a row for each of N examples, or one row for all.
      null: ∅, a pytree of the same structure, with one row or N.
      weight: guidance weight, w.
      is_active: function from a time to whether guidance applies; elsewhere only the term with y is computed. None to
        apply guidance at all times.
    """

    def unguided(x: Array, t: Array) -> Prediction:
        return denoise(x, t, repeat_rows(condition, x.shape[0]))

    def guided(x: Array, t: Array) -> Prediction:
        with_null = (repeat_rows(each, x.shape[0]) for each in (condition, null))
        both = denoise(jnp.concatenate([x, x]), t, jax.tree.map(lambda *parts: jnp.concatenate(parts), *with_null))
        at_y, at_null = (jax.tree.map(lambda a, i=i: jnp.split(a, 2)[i], both) for i in range(2))
        return jax.tree.map(lambda y, n: n + weight * (y - n), at_y, at_null)  # equation 1

    if is_active is None:
        return guided
    return lambda x, t: jax.lax.cond(is_active(t), guided, unguided, x, t)


@check_arguments
def classifier_guidance(
    denoise: Denoise, process: NoiseProcess, log_prob: Callable[[Array, Array], Array], weight: NonNegativeFloat = 1.0
) -> Denoise:
    """Return the denoiser of equation 2, given an unconditional one; it is NaN where α = 0.

    ``log_prob`` maps x_t (N, ...) and t () to the log-probability of the desired labels, log p(y | x_t), nats, (N,).
    ``weight`` is w, at least 0; 1 is Bayes' rule.
    """

    def guided(x: Array, t: Array) -> Prediction:
        level, noise = level_at(process, t), denoise(x, t).noise
        gradient = jax.grad(lambda x: jnp.sum(log_prob(x, t)))(x)
        noise = noise - weight * level.sigma * gradient  # equation 2
        return Prediction((x - level.sigma * noise) / level.alpha, noise)

    return guided


@check_arguments
def dynamic_thresholding(denoise: Denoise, process: NoiseProcess, percentile: Percentile = 99.5) -> Denoise:
    """Return a denoiser whose x̂₀ lies in [-1, 1]; the percentile p is in (0, 100], and 100 only rescales."""

    def thresholded(x: Array, t: Array) -> Prediction:
        level, data = level_at(process, t), denoise(x, t).data
        s = jnp.percentile(jnp.abs(data.reshape(data.shape[0], -1)), percentile, axis=1)
        s = jnp.maximum(s, 1.0).reshape(-1, *[1] * (data.ndim - 1))
        data = jnp.clip(data, -s, s) / s
        return Prediction(data, (x - level.alpha * data) / level.sigma)

    return thresholded


def check_guidance(
    weight: float,
    interval: tuple[float, float] | None,
    condition: Mapping[str, Any],
    negative_prompt: Array | None,
    dropout: float,
) -> None:
    """Check that a model can apply the guidance; ``condition`` holds the conditions that are given, by name.

    Raises:
      ValueError: if no condition is given, a negative prompt has no effect, the model was not trained for guidance, or
        the interval is not increasing within [0, 1].
    """
    if negative_prompt is not None and weight == 1.0:
        raise ValueError("negative_prompt is given, but guidance is 1, which ignores it; use guidance=3, for example")
    if weight != 1.0 and negative_prompt is None:
        if not condition:
            raise ValueError(
                f"guidance is {weight}, but no condition is given; pass one, such as label=0, to a model trained with "
                "num_classes or text_encoder, or leave guidance at 1"
            )
        if dropout == 0:
            raise ValueError(
                f"guidance is {weight}, but this model was trained with condition_dropout=0 and has not learned to "
                "denoise without a condition; train with 0.1, or leave guidance at 1"
            )
    if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(f"guidance_interval is {interval}, but must be two increasing noise levels in [0, 1]")
