"""What the alarm says: of each kind of failure the value, and what to do.

A complaint is called at every evaluation, with what was measured, and returns a sentence, or None where all is well.
Where values have a leading axis of replicas, the worst one speaks. Limits that are not by definition come from runs
that failed and runs that did not, which lie far apart on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import jax
import numpy as np

Complaint = Callable[[int, Mapping[str, np.ndarray]], str | None]

# Names of what is measured of posteriors; a layer below the top adds its number.
ACTIVE_UNITS, KL_PER_DIMENSION, VARIANCE_OF_MEANS = "active_units", "kl_per_dimension", "variance_of_means"

ALIVE = 0.1  # of the units, or codes: fewer alive is a collapse
REACHED = 0.25  # of the data that data reach; three of 25 modes reach a fifth
DEVIATION = 1e-6  # of a discriminator's outputs
SLOPE = 1e-4  # of the generator's loss
MOVED = 0.01  # of what examples differ by; chains that mix move by 0.05 (MNIST) to 0.5, stuck ones by 0.004 or less
EXPLODED = 1.0  # nats below independent units
BLIND = 0.01  # mean kernel, or its distance from 1
ERRORS = 3.0  # standard errors
FALLEN = 0.05  # of what a likelihood had gained over independent units


def dead_units(cures: Sequence[str]) -> Complaint:
    """Return the complaint of a posterior, or one layer of it, that tells nothing; ``cures`` are the model's own."""

    def complaint(step: int, values: Mapping[str, np.ndarray]) -> str | None:
        del step
        for name in values:
            if not name.startswith(ACTIVE_UNITS):
                continue
            layer = name.removeprefix(ACTIVE_UNITS)
            vector = KL_PER_DIMENSION if KL_PER_DIMENSION + layer in values else VARIANCE_OF_MEANS
            active, total = int(values[name].min()), values[vector + layer].shape[-1]
            if active < ALIVE * total:
                where = f" of layer {layer.removeprefix('_')}" if layer else ""
                return (
                    f"{active} of {total} latent dimensions{where} vary with the data (posterior collapse): "
                    f"{', '.join([*cures, 'or weaken the decoder'] if cures else ['weaken the decoder'])}"
                )
        return None

    return complaint


def dead_codes(num_codes: int, num_examples: int) -> Complaint:
    """Return the complaint of a codebook of which examples use less than so many could."""

    def complaint(step: int, values: Mapping[str, np.ndarray]) -> str | None:
        del step
        used = round(float(values["codebook_usage"].min()) * num_codes) if "codebook_usage" in values else num_codes
        if used >= ALIVE * min(num_codes, num_examples):  # each has one code at least
            return None
        return (
            f"{used} of {num_codes} codes are used (codebook collapse): start the codebook by k-means "
            "(kmeans_steps), restart dead codes (restart_below), or have fewer (num_codes)"
        )

    return complaint


def lost_game(step: int, values: Mapping[str, np.ndarray]) -> str | None:
    """Complain of a generator and a discriminator of which one has lost; see ``genjax.gan.diagnosis``."""
    del step
    if "slope" not in values:
        return None
    reached, deviation, slope = (values[name].min() for name in ("reached", "output_deviation", "slope"))
    if reached < REACHED:
        return (
            f"samples reach {reached:.0%} of the data that data reach (mode collapse): add a penalty "
            "(gan.R1, gan.GradientPenalty), let the discriminator see several at once (pack), or slow the "
            "generator down"
        )
    if deviation < DEVIATION:
        return (
            f"the discriminator's outputs deviate by {deviation:.1g} (it is dead): lower its learning rate or "
            "its penalties' weights, or use leaky activations"
        )
    if slope < SLOPE:
        return (
            f"the generator's loss has a slope of {slope:.1g} (its gradient has vanished): use "
            "gan.NonSaturating or gan.Hinge, add a penalty (gan.R1), or give the discriminator fewer turns"
        )
    return None


def blind_kernels(step: int, values: Mapping[str, np.ndarray]) -> str | None:
    """Complain of kernels by which all examples are as far from each other, or as near; see ``moment_matching``."""
    del step
    if "mean_kernel" not in values:
        return None
    narrowest, widest = values["mean_kernel"].min(), values["mean_kernel"].max()
    if narrowest >= BLIND and widest <= 1 - BLIND:
        return None
    kernel, fault = (narrowest, "narrow") if narrowest < BLIND else (widest, "wide")
    return (
        f"the kernel of two examples is {kernel:.2g} on average, and 1 where they are equal: all bandwidths are too "
        f"{fault} for examples that are {values['distance'].mean():.3g} apart, and the loss sees no difference between "
        "distributions; choose bandwidths from below to above that distance"
    )


def frozen_chains(step: int, values: Mapping[str, np.ndarray]) -> str | None:
    """Complain of Markov chains that stay where they are; see ``genjax.boltzmann.diagnosis``."""
    del step
    if "chain_movement" not in values or not (moved := values["chain_movement"].min()) < MOVED:
        return None
    return (
        f"chains move by {100 * moved:.2g} % of what examples differ by in one update, and below {100 * MOVED:g} % "
        "they are frozen: use boltzmann.ParallelTempering, more sweeps (num_steps), or a lower learning rate"
    )


def exploded_machine(step: int, values: Mapping[str, np.ndarray]) -> str | None:
    """Complain of a likelihood that is far below where training began; see ``genjax.boltzmann.diagnosis``."""
    del step
    if "gain" not in values:
        return None
    gain = values["gain"].mean(axis=-1)
    error = np.hypot(_standard_error(values["gain"]), values.get("log_partition_error", 0.0))
    if not (gain < -np.maximum(EXPLODED, ERRORS * error)).any():
        return None
    return (
        f"the likelihood is {-gain.min():.3g} nats below that of independent units, and more than {EXPLODED:g} says "
        "that the parameters have exploded: lower the learning rate, or add weight_decay"
    )


class Told(NamedTuple):
    """An evaluation; its arrays may have a leading axis of replicas."""

    step: np.ndarray
    log_prob: np.ndarray  # (..., N)
    log_partition_error: np.ndarray
    gain: np.ndarray  # (..., N)
    reconstruction_error: np.ndarray


@final
class FallingLikelihood:
    """Complains of a likelihood that fell, from where it was best, while reconstructions got better."""

    def __init__(self) -> None:
        self._best: Told | None = None

    def __call__(self, step: int, values: Mapping[str, np.ndarray]) -> str | None:
        """See ``Complaint``; remembers the evaluation of the best likelihood of each replica."""
        log_prob = values.get("log_prob", values.get("log_prob_estimate"))
        if log_prob is None or "reconstruction_error" not in values:
            return None
        error = values["reconstruction_error"]
        log_z_error = values.get("log_partition_error", np.zeros_like(error))
        now = Told(np.full_like(error, step), log_prob, log_z_error, values["gain"], error)
        best = self._best or now
        # By example, as some are far likelier than others at any time.
        fall = best.log_prob - now.log_prob
        lost, gained = fall.mean(axis=-1), best.gain.mean(axis=-1)
        uncertainty = np.sqrt(
            np.square(_standard_error(fall)) + np.square(best.log_partition_error) + np.square(now.log_partition_error)
        )
        clear = (lost > np.maximum(ERRORS * uncertainty, FALLEN * gained)) & (error < best.reconstruction_error)
        better = lost < 0
        self._best = jax.tree.map(
            lambda new, old: np.where(better[..., None] if new.ndim > better.ndim else better, new, old), now, best
        )
        if not clear.any():
            return None
        worst = np.argmax(np.where(clear, lost, -np.inf))
        least, at, before, after = (np.ravel(a)[worst] for a in (lost, best.step, best.reconstruction_error, error))
        return (
            f"the likelihood is {least:.3g} nats below that of step {int(at):,}, while the reconstruction error, which "
            f"is no measure of the model, fell from {before:.2g} to {after:.2g}: use boltzmann.Persistent or "
            "boltzmann.ParallelTempering in place of ContrastiveDivergence, lower the learning rate, add weight_decay, "
            "or stop where the likelihood is best"
        )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return that of the mean over the last axis."""
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])
