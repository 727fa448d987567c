"""Checks of a model in training: each one detects a kind of failure and says what to do about it.

A check is called at every evaluation with the measured values and returns a message, or None if all is well. If values
have a leading axis of replicas, the worst replica counts. Thresholds that are not definitions separate the values of
failed runs from those of sound runs, which are far apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import jax
import numpy as np

Measurements = Mapping[str, np.ndarray]  # by name, beside the training step under "step"
Check = Callable[[Measurements], str | None]

# Names of the measurements of a posterior; a layer below the top appends its number.
ACTIVE_UNITS, KL_PER_DIMENSION, VARIANCE_OF_MEANS = "active_units", "kl_per_dimension", "variance_of_means"

MIN_ACTIVE_SHARE = 0.1  # of units or codes
MIN_COVERAGE = 0.25  # share of the data that other data cover; samples of 3 out of 25 modes cover 0.2
MIN_DISCRIMINATOR_STD = 1e-6  # of its outputs
MIN_GENERATOR_GRADIENT = 1e-4  # of the generator's loss
# Relative to the distance between examples; chains that mix move by 0.05 to 0.5, stuck ones by less than 0.004.
MIN_CHAIN_MOVEMENT = 0.01
# Samples of an energy model relative to data: variance, and nats of energy per entry of an example.
MIN_SAMPLE_SPREAD, MAX_SAMPLE_SPREAD = 0.02, 10.0
MAX_ENERGY_GAP = 10.0
MAX_LIKELIHOOD_DEFICIT = 1.0  # nats below independent units
MIN_KERNEL_CONTRAST = 0.01  # distance of the mean kernel from 0 and from 1
NUM_STANDARD_ERRORS = 3.0
MAX_LIKELIHOOD_DROP = 0.05  # share of the gain over independent units


def not_finite(values: Measurements, where: str) -> str | None:
    """Check for NaN and infinite values; ``where`` says what was measured, such as "split 'validation'"."""
    counts = {name: np.sum(~np.isfinite(value)) for name, value in values.items()}
    parts = [f"{n:,} of {np.size(values[name]):,} values of {name}" for name, n in counts.items() if n]
    if not parts:
        return None
    return (
        f"{' and '.join(parts)} on {where} are not finite: lower the learning rate, clip gradients "
        "(optax.clip_by_global_norm), or look for examples that the model cannot have drawn"
    )


def posterior_collapse(remedies: Sequence[str]) -> Check:
    """Return a check for posteriors, in any layer, that ignore the data; ``remedies`` are those of the model."""

    def check(values: Measurements) -> str | None:
        for name in values:
            if not name.startswith(ACTIVE_UNITS):
                continue
            layer = name.removeprefix(ACTIVE_UNITS)
            vector = KL_PER_DIMENSION if KL_PER_DIMENSION + layer in values else VARIANCE_OF_MEANS
            active, total = int(values[name].min()), values[vector + layer].shape[-1]
            if active < MIN_ACTIVE_SHARE * total:
                where = f" of layer {layer.removeprefix('_')}" if layer else ""
                return (
                    f"{active} of {total} latent dimensions{where} vary with the data (posterior collapse): "
                    f"{', '.join([*remedies, 'or weaken the decoder'] if remedies else ['weaken the decoder'])}"
                )
        return None

    return check


def codebook_collapse(num_codes: int, num_examples: int) -> Check:
    """Return a check for unused codes; a batch of ``num_examples`` vectors can use at most as many codes."""

    def check(values: Measurements) -> str | None:
        if "codebook_usage" not in values:
            return None
        num_used = round(float(values["codebook_usage"].min()) * num_codes)
        if num_used >= MIN_ACTIVE_SHARE * min(num_codes, num_examples):
            return None
        return (
            f"{num_used} of {num_codes} codes are used (codebook collapse): initialize the codebook by k-means "
            "(kmeans_steps), restart dead codes (restart_below), or use fewer codes (num_codes)"
        )

    return check


def gan_failure(penalty_interval: int = 1) -> Check:
    """Return the check for missing modes, a dead discriminator and vanished gradients; see ``genjax.gan.diagnosis``.

    ``penalty_interval`` is the largest number of steps between two computations of a penalty (``every``).
    """

    def check(values: Measurements) -> str | None:
        names = ("coverage", "discriminator_std", "generator_gradient")
        if not values.keys() >= set(names):
            return None
        coverage, std, gradient = (values[name].min() for name in names)
        if coverage < MIN_COVERAGE:
            cure = "add a penalty (gan.R1, gan.GradientPenalty)"
            if penalty_interval > 1:
                cure = f"compute all penalties at every step (every=1; one has every={penalty_interval})"
            return (
                f"samples cover {coverage:.0%} of the data that other data cover (mode collapse): {cure}, show the "
                "discriminator several samples at once (pack), or slow the generator down"
            )
        if std < MIN_DISCRIMINATOR_STD:
            return (
                f"the discriminator's outputs have a standard deviation of {std:.1g} (it is dead): lower its "
                "learning rate or the weights of its penalties, or use leaky activations"
            )
        if gradient < MIN_GENERATOR_GRADIENT:
            return (
                f"the gradient of the generator's loss has norm {gradient:.1g} (it has vanished): use "
                "gan.NonSaturating or gan.Hinge, add a penalty (gan.R1), or give the discriminator fewer turns"
            )
        return None

    return check


def kernel_bandwidth(values: Measurements) -> str | None:
    """Check that kernels distinguish near examples from far ones; see ``genjax.moment_matching``."""
    if "mean_kernel" not in values:
        return None
    narrowest, widest = values["mean_kernel"].min(), values["mean_kernel"].max()
    if narrowest >= MIN_KERNEL_CONTRAST and widest <= 1 - MIN_KERNEL_CONTRAST:
        return None
    kernel, fault = (narrowest, "narrow") if narrowest < MIN_KERNEL_CONTRAST else (widest, "wide")
    return (
        f"the mean kernel between two examples is {kernel:.2g}, where that of equal examples is 1: all bandwidths are "
        f"too {fault} for examples at a mean distance of {values['distance'].mean():.3g}, and the loss sees no "
        "difference between distributions; choose bandwidths on both sides of that distance"
    )


def chain_mixing(values: Measurements) -> str | None:
    """Check that Markov chains move; see ``genjax.boltzmann.diagnosis`` and ``genjax.energy.diagnosis``."""
    movement = values["chain_movement"].min() if "chain_movement" in values else np.inf
    if not movement < MIN_CHAIN_MOVEMENT:
        return None
    if "sample_spread" in values:
        return (
            f"in a whole run, chains move by {100 * movement:.2g} % of the distance between examples; below "
            f"{100 * MIN_CHAIN_MOVEMENT:g} % they are frozen: use another step_size of the kernel, more steps "
            "(num_steps), or energy.ParallelTempering"
        )
    return (
        f"in one update, chains move by {100 * movement:.2g} % of the distance between examples; below "
        f"{100 * MIN_CHAIN_MOVEMENT:g} % they do not mix: use boltzmann.ParallelTempering, more Gibbs steps "
        "(num_steps), or a lower learning rate"
    )


def unstable_energy(values: Measurements) -> str | None:
    """Check chains and energies of an energy model; see ``genjax.energy.diagnosis``."""
    if "sample_spread" not in values:
        return None
    spread, gap = values["sample_spread"], values.get("energy_gap_per_entry", np.zeros(()))
    if spread.max() > MAX_SAMPLE_SPREAD:
        return (
            f"samples have {spread.max():.3g} times the variance of the data (the chains diverge): lower the step_size "
            "of the kernel, clip gradients (max_gradient), or use energy.Uniform as the base, which confines chains"
        )
    if spread.min() < MIN_SAMPLE_SPREAD:
        return (
            f"samples have {spread.min():.2g} times the variance of the data (the chains collapse to a point): raise "
            "the temperature of the kernel, or add energy.EnergyMagnitude"
        )
    if np.abs(gap).max() > MAX_ENERGY_GAP:
        return (
            f"the energies of data and samples differ by {np.abs(gap).max():.3g} nats per entry of an example, and "
            f"beyond {MAX_ENERGY_GAP:g} they drift apart: add energy.EnergyMagnitude, lower the learning rate, or take "
            "more steps per update (num_steps)"
        )
    return None


def buffer_collapse(values: Measurements) -> str | None:
    """Check that the chains of a buffer cover the data; see ``genjax.energy.diagnosis``."""
    if "buffer_coverage" not in values or not values["buffer_coverage"].min() < MIN_COVERAGE:
        return None
    return (
        f"the buffer covers {values['buffer_coverage'].min():.0%} of the data that other data cover (it has collapsed "
        "to few modes): restart a larger share of its chains (restart), take more steps per update (num_steps), or "
        "enlarge it (buffer_size)"
    )


def diverged_parameters(values: Measurements) -> str | None:
    """Check that the likelihood is not far below that of independent units; see ``genjax.boltzmann.diagnosis``."""
    if "gain" not in values:
        return None
    gain = values["gain"].mean(axis=-1)
    error = np.hypot(_standard_error(values["gain"]), values.get("log_partition_error", 0.0))
    if not (gain < -np.maximum(MAX_LIKELIHOOD_DEFICIT, NUM_STANDARD_ERRORS * error)).any():
        return None
    return (
        f"the log-likelihood is {-gain.min():.3g} nats below that of independent units; beyond "
        f"{MAX_LIKELIHOOD_DEFICIT:g} nats the parameters have diverged: lower the learning rate, or add weight_decay"
    )


class LikelihoodRecord(NamedTuple):
    """One evaluation of a likelihood; arrays may have a leading axis of replicas."""

    step: np.ndarray  # (...)
    log_prob: np.ndarray  # nats of each example, (..., N)
    log_partition_error: np.ndarray  # standard error of log Z, (...)
    gain: np.ndarray  # nats above independent units, (..., N)
    reconstruction_error: np.ndarray  # mean squared error, (...)


@final
class FallingLikelihood:
    """Check for a likelihood that falls below its best while reconstructions still improve."""

    def __init__(self) -> None:
        self._best: LikelihoodRecord | None = None

    def __call__(self, values: Measurements) -> str | None:
        """Run the check, and keep each replica's evaluation with the best likelihood."""
        log_prob = values.get("log_prob", values.get("log_prob_estimate"))
        if log_prob is None or "reconstruction_error" not in values:
            return None
        error = values["reconstruction_error"]
        log_z_error = values.get("log_partition_error", np.zeros_like(error))
        current = LikelihoodRecord(np.full_like(error, values["step"]), log_prob, log_z_error, values["gain"], error)
        best = self._best or current
        # Differences by example have less variance, because some examples are always far likelier than others.
        drop = best.log_prob - current.log_prob
        mean_drop, best_gain = drop.mean(axis=-1), best.gain.mean(axis=-1)
        log_z_errors = np.hypot(best.log_partition_error, current.log_partition_error)
        uncertainty = np.hypot(_standard_error(drop), log_z_errors)
        limit = np.maximum(NUM_STANDARD_ERRORS * uncertainty, MAX_LIKELIHOOD_DROP * best_gain)
        has_fallen = (mean_drop > limit) & (error < best.reconstruction_error)
        improved = mean_drop < 0
        self._best = jax.tree.map(
            lambda new, old: np.where(improved[..., None] if new.ndim > improved.ndim else improved, new, old),
            current,
            best,
        )
        if not has_fallen.any():
            return None
        worst = np.argmax(np.where(has_fallen, mean_drop, -np.inf))
        nats, best_step, before, after = (
            np.ravel(a)[worst] for a in (mean_drop, best.step, best.reconstruction_error, error)
        )
        return (
            f"the log-likelihood is {nats:.3g} nats below that of step {int(best_step):,}, although the reconstruction "
            f"error, which does not measure the model, fell from {before:.2g} to {after:.2g}: use boltzmann.Persistent "
            "or boltzmann.ParallelTempering instead of ContrastiveDivergence, lower the learning rate, add "
            "weight_decay, or stop where the likelihood is best"
        )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over the last axis."""
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])
