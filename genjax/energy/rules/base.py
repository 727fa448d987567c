"""Interfaces of training rules, losses that fit the energy to data, and of penalties."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from genjax.core import Array, Metrics, PyTree
from genjax.energy.density import EnergyDensity
from genjax.energy.kernels import Kernel


class RuleOutput(NamedTuple):
    """What a rule returns for a minibatch.

    Attributes:
      loss: scalar loss without the weight of the rule; for some rules, only its gradient is meaningful.
      state: new state of the rule, such as its chains.
      metrics: scalar metrics by name.
      samples: samples of the model, (N, *shape), for penalties; None if the rule draws none.
    """

    loss: Array
    state: PyTree
    metrics: Metrics
    samples: Array | None = None


@runtime_checkable
class Rule(Protocol):
    """A loss of the energy on a minibatch; the weighted losses of several rules are added.

    Attributes:
      weight: factor on the loss.
      kernel: kernel of the rule's chains; None for the model's, or without chains.
      needs_classes: whether the model must have classes.
      discrete: whether data must be binary (True) or real (False); None if either will do.
    """

    weight: float
    kernel: Kernel | None = None
    needs_classes: bool = False
    discrete: bool | None = None

    def init(self, density: EnergyDensity, key: Array) -> PyTree:
        """Return the initial state of the rule; rules without a state return an empty dict."""
        del density, key
        return {}

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """Return the loss, without its weight, for data x, (B, *shape), and labels, int32 (B,)."""
        ...


@runtime_checkable
class Penalty(Protocol):
    """A weighted term that is added to the losses of the rules."""

    def __call__(self, density: EnergyDensity, x: Array, samples: Array | None) -> Array:
        """Return the weighted penalty, (), for data (B, *shape) and samples of the rules, (N, *shape), or None."""
        ...
