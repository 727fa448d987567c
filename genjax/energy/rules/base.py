"""Training rules: how the energy of a model is moved towards the data."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from genjax.core import Array, Metrics, PyTree
from genjax.energy.bases import Base
from genjax.energy.density import EnergyDensity
from genjax.energy.kernels import Kernel


class RuleOutput(NamedTuple):
    """What a rule returns for a minibatch.

    Attributes:
      loss: scalar whose gradient is the rule's.
      state: new state of the rule, such as its chains.
      metrics: scalars by name.
      samples: samples of the model that the rule has drawn, (N, *shape), for penalties; None without any.
    """

    loss: Array
    state: PyTree
    metrics: Metrics
    samples: Array | None = None


@runtime_checkable
class Rule(Protocol):
    """A loss of the energy on a minibatch, as a value. The losses of several rules are added.

    Attributes:
      weight: factor on the loss.
      needs_classes: whether the model must have classes.
      discrete: whether data may be binary; None for both binary data and real numbers.
    """

    weight: float
    needs_classes: bool = False
    discrete: bool | None = None

    def check(self, base: Base, kernel: Kernel) -> None:
        """Raise ValueError if the rule cannot train a model with this base and this kernel; most rules can."""
        del base, kernel

    def init(self, density: EnergyDensity, key: Array) -> PyTree:
        """Return the initial state of the rule; rules without a state return an empty dict."""
        del density, key
        return {}

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """Return the loss without its weight, for data x, (B, *shape), and labels, int32 (B,)."""
        ...


@runtime_checkable
class Penalty(Protocol):
    """A term that is added to the losses of the rules, with its weight."""

    def __call__(self, density: EnergyDensity, x: Array, samples: Array | None) -> Array:
        """Return the scalar for data, (B, *shape), and samples of the rules, (N, *shape), or None without any."""
        ...
