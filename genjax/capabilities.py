"""Capabilities of models beyond ``init``, ``objectives`` and ``sample``, and functions that query them.

Each capability is a small runtime-checkable Protocol, named as a verb phrase about the model: a model *encodes*, *has a
log-likelihood*, *is discrete*. A model has a capability by having its methods, unless it names one of them in ``lacks``
because its settings rule it out. A metric that needs a capability which the model does not have is reported as "n/a".

Nothing else in the library inspects a model's attributes: metrics, monitoring, pictures and the command line call
``supports``, ``likelihoods``, ``conditions``, ``num_values`` and similar functions.

>>> from genjax import nets, ops, vae
>>> model = vae.VAE(
...     latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli(), num_classes=3
... )
>>> supports(model, Encodes), supports(model, HasLogProb), likelihoods(model)
(True, False, ('log_prob_lower_bound', 'log_prob_estimate'))
>>> [(condition.name, condition.kind, condition.num_values) for condition in conditions(model)]
[('label', 'label', 3)]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np

from genjax.core import Array, Batch, Metrics, Variables


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """An input beside the data that a model is conditioned on.

    Attributes:
      name: its key in a batch, and the keyword argument of ``sample`` and of every method that takes data.
      kind: ``"label"`` for a class index, ``"tokens"`` for a tokenized text, ``"image"`` for pixels in [0, 1],
        ``"array"`` for any other real numbers.
      shape: shape of one example, () for a label; None stands for an axis of any length.
      num_values: number of classes or of tokens; None for real numbers.
      optional: whether the model also works without it.
      in_batch: whether batches contain it; False for conditions of ``sample`` alone, such as the prompt of a text.
      pad_token: token that pads a text to a fixed length.
      paired: whether it must belong to the example that it comes with; False for models that learn from unpaired sets.
      tokenizer: name of the condition whose tokenizer reads it, such as that of a negative prompt; None for its own.
    """

    name: str
    kind: Literal["label", "tokens", "image", "array"]
    shape: tuple[int | None, ...] = ()
    num_values: int | None = None
    optional: bool = False
    in_batch: bool = True
    pad_token: int = 0
    paired: bool = True
    tokenizer: str | None = None

    @property
    def null(self) -> int | None:
        """Value of a condition that is left out: the label after the last class, or padding."""
        return self.num_values if self.kind == "label" else self.pad_token

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether one example may have a shape."""
        return len(shape) == len(self.shape) and all(
            size in (None, actual) for size, actual in zip(self.shape, shape, strict=True)
        )


@runtime_checkable
class HasConditions(Protocol):
    """Is conditioned on further inputs; the tuple is empty where its settings make it unconditional."""

    @property
    def conditions(self) -> tuple[Condition, ...]: ...


@runtime_checkable
class HasLogProb(Protocol):
    """Has an exact, normalized log-density or log-mass."""

    def log_prob(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class HasLogProbLowerBound(Protocol):
    """Has a stochastic lower bound whose expectation is at most log p(x)."""

    def log_prob_lower_bound(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class HasLogProbEstimate(Protocol):
    """Has a Monte-Carlo or ODE estimate of log p(x); ``num_samples`` sets its cost."""

    def log_prob_estimate(self, variables: Variables, key: Array, x: Array, num_samples: int) -> Array: ...


@runtime_checkable
class HasLogDensity(Protocol):
    """Has log p(x) up to a constant that does not depend on x, nats, (B,): enough to rank examples."""

    def log_density(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class HasLogPartitionEstimate(Protocol):
    """Estimates log Z, the constant that ``log_density`` lacks: fields ``value``, ``low`` and ``high``, nats, ()."""

    def log_partition_estimate(self, variables: Variables, key: Array, num_samples: int) -> Any: ...


@runtime_checkable
class HasEnergy(Protocol):
    """Has an energy, whose chains can run from any data."""

    def energy(self, variables: Variables, x: Array) -> Array: ...

    def score(self, variables: Variables, x: Array) -> Array: ...

    def chains(self, variables: Variables, key: Array, x: Array, num_steps: int) -> Any: ...


@runtime_checkable
class Classifies(Protocol):
    """Has log p(y | x) of all classes without Bayes' rule, nats, (B, K)."""

    def class_log_prob(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class IsDiscrete(Protocol):
    """Says whether its log-likelihoods are log-masses of discrete values (True) or log-densities (False)."""

    @property
    def discrete(self) -> bool: ...


@runtime_checkable
class HasNumValues(Protocol):
    """Models integers 0 … num_values − 1; None where its settings make the data real numbers."""

    @property
    def num_values(self) -> int | None: ...


@runtime_checkable
class Stops(Protocol):
    """Ends its sequences with a token; None where they all have full length."""

    @property
    def stop_token(self) -> int | None: ...


@runtime_checkable
class Extends(Protocol):
    """Draws sequences piece by piece: the next tokens of prompts (B, T), in which -1 stands for those not drawn yet.

    Pieces that are drawn with one key make up the sample of that key.
    """

    def extend(self, variables: Variables, key: Array, prompt: Array) -> Array: ...


@runtime_checkable
class Imputes(Protocol):
    """Draws the unknown values of examples x (B, ...) given the known ones, and returns both.

    ``mask``, bool and broadcastable to x, is True where x is known; unknown values of x may be anything, NaN included.
    """

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array) -> Array: ...


@runtime_checkable
class Translates(Protocol):
    """Maps images of one domain to another, for data with entries ``x`` and ``y``.

    ``directions`` are "y_to_x", "x_to_y" or both; the first is the default. ``translate`` maps images (B, H, W, C) in
    [0, 1] to images in [0, 1] of the other domain.
    """

    @property
    def directions(self) -> tuple[str, ...]: ...

    def translate(self, variables: Variables, key: Array, x: Array, *, direction: str) -> Array: ...


@runtime_checkable
class Encodes(Protocol):
    """Maps data to the codes that ``decode`` takes: posterior means, code indices or noise."""

    def encode(self, variables: Variables, x: Array) -> Array: ...


@runtime_checkable
class Decodes(Protocol):
    """Maps codes to data."""

    def decode(self, variables: Variables, latent: Array) -> Array: ...


@runtime_checkable
class Reconstructs(Protocol):
    """Encodes and decodes data, possibly through a random code."""

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class HasPosterior(Protocol):
    """Has a diagonal Gaussian q(z | x) and a standard normal prior; returns means and log-variances, (B, D) each."""

    def posterior(self, variables: Variables, x: Array) -> tuple[Array, Array]: ...


@runtime_checkable
class HasPrior(Protocol):
    """Draws latent vectors from its prior."""

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array: ...


@runtime_checkable
class HasLatentVariables(Protocol):
    """Draws latent vectors from its prior and from the posterior of data; in a perfect fit, these agree on average."""

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array: ...

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array: ...


@runtime_checkable
class HasStochasticLayers(Protocol):
    """Draws the latent vectors of its ``num_layers`` stochastic layers, from the data upwards, (B, D_l) each."""

    @property
    def num_layers(self) -> int: ...

    def sample_layers(self, variables: Variables, key: Array, x: Array) -> tuple[Array, ...]: ...


@runtime_checkable
class Quantizes(Protocol):
    """Encodes data as int32 indices of a codebook of ``num_codes`` vectors."""

    @property
    def num_codes(self) -> int: ...


@runtime_checkable
class HasCodeLikelihood(Protocol):
    """Has the log-likelihood of data given codes, log p(x | c), nats, (B,)."""

    def log_likelihood(self, variables: Variables, latent: Array, x: Array) -> Array: ...


@runtime_checkable
class HasLikelihood(Protocol):
    """Has a distribution of its data given the outputs of a network, see ``genjax.ops.Likelihood``."""

    @property
    def likelihood(self) -> Any: ...


@runtime_checkable
class Diagnoses(Protocol):
    """Measures on a batch how training goes: numbers of shape () or (B,) by name.

    The family defines the numbers: the balance of a GAN (``genjax.gan.diagnosis``), the mixing of a Boltzmann machine's
    chains and the trend of its likelihood (``genjax.boltzmann.diagnosis``), the chains and the buffer of an energy
    model (``genjax.energy.diagnosis``). ``genjax.monitoring`` warns about them.
    """

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics: ...


@runtime_checkable
class Lacks(Protocol):
    """Names methods of its class that this model cannot offer, because of its settings or its parts."""

    @property
    def lacks(self) -> tuple[str, ...]: ...


@runtime_checkable
class SplitsTensors(Protocol):
    """Says which axis of a parameter, counted from its end, tensor parallelism splits; None for a whole parameter.

    The path names the parameter, as ``net/layers/up/kernel`` does. A network may say it for the model that has it.
    """

    def tensor_axis(self, path: str) -> int | None: ...


CAPABILITIES: tuple[type, ...] = (
    HasLogProb,
    HasLogProbLowerBound,
    HasLogProbEstimate,
    HasLogDensity,
    HasLogPartitionEstimate,
    HasEnergy,
    Classifies,
    IsDiscrete,
    HasNumValues,
    Stops,
    Extends,
    Imputes,
    Translates,
    Encodes,
    Decodes,
    Reconstructs,
    HasPosterior,
    HasPrior,
    HasLatentVariables,
    HasStochasticLayers,
    Quantizes,
    HasCodeLikelihood,
    HasLikelihood,
    HasConditions,
    Diagnoses,
    Lacks,
    SplitsTensors,
)
GUARANTEES: Mapping[str, tuple[type, str]] = {
    "log_prob": (HasLogProb, "exact"),
    "log_prob_lower_bound": (HasLogProbLowerBound, "lower bound"),
    "log_prob_estimate": (HasLogProbEstimate, "estimate"),
}


def methods(capability: type) -> tuple[str, ...]:
    """Return the names of the methods and properties that define a capability."""
    return tuple(name for name in vars(capability) if not name.startswith("_"))


def supports(model: object, capability: type) -> bool:
    """Return whether a model has a capability with its settings."""
    lacks = model.lacks if isinstance(model, Lacks) else ()
    return isinstance(model, capability) and not set(methods(capability)) & set(lacks)


def has_latent_space(model: object) -> bool:
    """Return whether a model decodes codes that it draws from a prior or finds for data."""
    return supports(model, Decodes) and (supports(model, HasPrior) or supports(model, Encodes))


def likelihoods(model: object) -> tuple[str, ...]:
    """Return the names of a model's log-likelihood methods, the strongest guarantee first."""
    return tuple(name for name, (capability, _) in GUARANTEES.items() if supports(model, capability))


def conditions(model: object) -> tuple[Condition, ...]:
    """Return the conditions of a model.

    Raises:
      ValueError: if the model has classes and declares no conditions, so that it would be taken for unconditional.
    """
    if isinstance(model, HasConditions):
        return model.conditions
    classes = getattr(model, "num_classes", None)
    if classes is not None:
        name = type(model).__name__
        raise ValueError(
            f"{name} has num_classes={classes}, but declares no conditions; add "
            "conditions = genjax.capabilities.label_condition(num_classes)"
        )
    return ()


def conditioning(model: object, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions that a batch holds, as keyword arguments of the model's methods.

    Labels and tokens become int32. Conditions of ``sample`` alone are left out, and so are optional ones that the batch
    lacks.

    Raises:
      ValueError: if the batch lacks a condition that the model requires.
    """
    batch_conditions = [condition for condition in conditions(model) if condition.in_batch]
    for condition in batch_conditions:
        if condition.name not in batch and not condition.optional:
            raise ValueError(
                f"the batch has {sorted(batch)}, but {type(model).__name__} is conditioned on {condition.name!r}; "
                "add it to the data"
            )
    return {
        condition.name: batch[condition.name].astype(np.int32)
        if condition.num_values is not None
        else batch[condition.name]
        for condition in batch_conditions
        if condition.name in batch
    }


def label_condition(num_classes: int | None, *, optional: bool = False) -> tuple[Condition, ...]:
    """Return the conditions of a model with class labels, or none for an unconditional model (None)."""
    if num_classes is None:
        return ()
    return (Condition(name="label", kind="label", num_values=num_classes, optional=optional),)


def num_classes(model: object) -> int | None:
    """Return the number of classes of a model that is conditioned on a label, or None."""
    return next((condition.num_values for condition in conditions(model) if condition.kind == "label"), None)


def num_values(model: object) -> int | None:
    """Return the number of values that an entry of a model's data can have, or None for real numbers."""
    return model.num_values if isinstance(model, HasNumValues) else None


def likelihood(model: object) -> Any | None:
    """Return the distribution of a model's data given the outputs of its network, or None."""
    return model.likelihood if isinstance(model, HasLikelihood) else None


def stop_token(model: object) -> int | None:
    """Return the token that ends a model's sequences, or None."""
    return model.stop_token if isinstance(model, Stops) else None


def tensor_axis(model: object) -> Callable[[str], int | None] | None:
    """Return the rule of tensor parallelism of a model or of its network, see ``SplitsTensors``, or None."""
    owners = (model, getattr(model, "net", None))
    return next((owner.tensor_axis for owner in owners if isinstance(owner, SplitsTensors)), None)


def is_discrete(model: object) -> bool:
    """Return whether a model's log-likelihoods are log-masses of discrete values."""
    return isinstance(model, IsDiscrete) and model.discrete
