"""Capabilities: what a model can do beside ``init``, ``objectives`` and ``sample``.

Each is a small runtime-checkable Protocol that a model has by having its method. Metrics and the command line ask for
them; a model that lacks one gets an honest "n/a", and a bound can never enter the column of an exact number. A model
of other models, whose parts may not give a method that its class has, names it in its attribute ``lacks``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from genjax.core import Array, Batch, Metrics, Variables


@runtime_checkable
class LogProb(Protocol):
    """Exact normalized log-density or log-mass."""

    def log_prob(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class LogProbLowerBound(Protocol):
    """A stochastic lower bound whose expectation is at most log p(x)."""

    def log_prob_lower_bound(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class LogProbEstimate(Protocol):
    """A Monte-Carlo or ODE estimate of log p(x); ``num_samples`` sets its cost."""

    def log_prob_estimate(self, variables: Variables, key: Array, x: Array, num_samples: int) -> Array: ...


@runtime_checkable
class Discrete(Protocol):
    """Says whether ``log_prob``, its bound and its estimate are log-masses of discrete values, not log-densities."""

    @property
    def discrete(self) -> bool: ...


@runtime_checkable
class Encodes(Protocol):
    """Maps data to the codes that ``decode`` takes: a posterior's means, code indices, or what else the model has."""

    def encode(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class Decodes(Protocol):
    """Maps codes to data."""

    def decode(self, variables: Variables, latent: Array) -> Array: ...


@runtime_checkable
class Posterior(Protocol):
    """Has a diagonal Gaussian q(z | x) against a standard normal prior: means and log-variances, (B, D) each."""

    def posterior(self, variables: Variables, x: Array) -> tuple[Array, Array]: ...


@runtime_checkable
class StochasticLayers(Protocol):
    """Draws the latent vectors of its ``num_layers`` stochastic layers, from the data upwards, (B, D_l) each."""

    @property
    def num_layers(self) -> int: ...

    def sample_layers(self, variables: Variables, key: Array, x: Array) -> tuple[Array, ...]: ...


@runtime_checkable
class LatentVariables(Protocol):
    """Draws latent vectors from the prior, and from the posterior of data; one that fits has them equal on average."""

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array: ...

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class Quantizes(Protocol):
    """Its codes are int32 indices of a codebook of ``num_codes`` entries."""

    @property
    def num_codes(self) -> int: ...


@runtime_checkable
class Reconstructs(Protocol):
    """Encodes and decodes data, possibly through a random code."""

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class Interpolates(Protocol):
    """Walks from one example to another, shape (B, num_steps, ...)."""

    def interpolate(self, variables: Variables, x: Array, y: Array, num_steps: int) -> Array: ...


@runtime_checkable
class Conditional(Protocol):
    """``sample`` takes ``label=``, int32 of shape (num_samples,), where ``num_classes`` is not None."""

    @property
    def num_classes(self) -> int | None: ...


@runtime_checkable
class Diagnoses(Protocol):
    """Tells from a batch of data how training goes on, as numbers, () or one for each example, (B,), by name.

    What they are is the family's: how a game between networks stands (``genjax.gan.diagnosis``), or whether a machine's
    chains move and what became of its likelihood (``genjax.boltzmann.diagnosis``). The alarm watches them.
    """

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics: ...
