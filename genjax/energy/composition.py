"""Composition of energy models: adding and subtracting energies multiplies and divides densities.

Experts with energies Eᵢ, densities pᵢ and weights wᵢ share a base p₀; each may have a label of its own. Their product

    p(x) ∝ p₀(x) exp(−Σᵢ wᵢ Eᵢ(x)) ∝ p₀(x) ∏ᵢ (pᵢ(x) / p₀(x))^wᵢ                                                  (1)

is large where all experts agree, so that samples satisfy every condition at once, even combinations of conditions that
no training data had. A negative weight avoids what its expert models. The product needs no training of its own.

Geoffrey Hinton 2002, "Training products of experts by minimizing contrastive divergence"; Yilun Du, Shuang Li and Igor
Mordatch 2020, arXiv:2004.06030.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.core import Array, Batch, LossFn, Metrics, Objective, PyTree, Variables
from genjax.energy.bases import Base
from genjax.energy.density import EnergyDensity
from genjax.energy.energy_model import PART, EnergyModel
from genjax.energy.kernels import Kernel
from genjax.energy.sampling import Label, SamplesEnergy, check_kernel


@final
@check_arguments
@dataclass(frozen=True)
class Expert:
    """Energy model in a product, with a weight and a label.

    Attributes:
      model: energy model.
      weight: w, factor on the energy; negative to divide by the expert.
      label: class y, whose energy is E(x, y); None for E(x).
    """

    model: EnergyModel
    weight: float = 1.0
    label: NonNegativeInt | None = None

    def __post_init__(self) -> None:
        classes = self.model.num_classes
        if self.label is not None and (classes is None or self.label >= classes):
            raise ValueError(f"label is {self.label}, but the model has num_classes={classes}; use a label below it")


@check_arguments
def Negation(expert: Expert | EnergyModel) -> Expert:  # noqa: N802 - reads as a type beside Product
    """Return the expert with its weight negated."""
    expert = _as_expert(expert)
    return replace(expert, weight=-expert.weight)


def _as_expert(expert: Expert | EnergyModel) -> Expert:
    return expert if isinstance(expert, Expert) else Expert(expert)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Product(SamplesEnergy):
    """Product of energy models, equation 1.

    Attributes:
      experts: energy models, or ``Expert``s with a weight and a label, all with the same base; the product takes its
        variables from the first expert.
      kernel: default kernel of ``sample``.
      num_steps: default number of kernel steps in ``sample``.

    >>> from genjax import energy, nets
    >>> expert = energy.EnergyModel(net=nets.MLP((16, 1)), base=energy.Gaussian((2,)), kernel=energy.MALA(0.1))
    >>> model = Product(experts=(expert, energy.Negation(expert)), kernel=energy.MALA(0.1))
    >>> variables = expert.init(jax.random.key(0), {"x": jnp.zeros((4, 2))})
    >>> both = model.join([variables, variables])  # an expert and its negation leave the base
    >>> round(float(model.log_prob(both, jnp.zeros((1, 2)))[0]), 3)  # −log 2π
    -1.838
    """

    experts: tuple[Expert | EnergyModel, ...]
    kernel: Kernel
    num_steps: PositiveInt = 100

    def __post_init__(self) -> None:
        if not self.experts:
            raise ValueError("experts is empty, but a product needs at least one; give a tuple of models")
        bases = {expert.model.base for expert in self._experts}
        if len(bases) > 1:
            raise ValueError(f"experts have the bases {sorted(map(str, bases))}, but must share one; train them alike")
        check_kernel(self.kernel, self.base)

    @property
    def _experts(self) -> tuple[Expert, ...]:
        return tuple(map(_as_expert, self.experts))

    @property
    def base(self) -> Base:
        """Base of all experts."""
        return self._experts[0].model.base

    def join(self, variables: Sequence[Variables]) -> Variables:
        """Return the variables of the product from those of its experts, in the order of ``experts``.

        Raises:
          ValueError: if the number of variables is not that of the experts.
        """
        if len(variables) != len(self.experts):
            raise ValueError(
                f"there are variables of {len(variables)} models, but {len(self.experts)} experts; give those of each"
            )
        bases = [jax.tree.leaves(each.state["base"]) for each in variables]
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(bases)):
            different = [i for i, base in enumerate(bases) if not all(map(np.array_equal, base, bases[0]))]
            if different:
                raise ValueError(
                    f"expert {different[0]} has other variables of the base than expert 0, but a product has one base; "
                    "train the experts over the same one (with_base)"
                )
        params = {f"{i}.{name}": part for i, each in enumerate(variables) for name, part in each.params.items()}
        return Variables(params, {str(i): each.state for i, each in enumerate(variables)})

    def part(self, variables: Variables, index: NonNegativeInt) -> Variables:
        """Return the variables of one expert."""
        prefix = f"{index}."
        params = {name.removeprefix(prefix): p for name, p in variables.params.items() if name.startswith(prefix)}
        return Variables(params, variables.state[str(index)])

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize all experts; ``join`` takes the variables of trained experts instead."""
        keys = jax.random.split(key, len(self.experts))
        return self.join([expert.model.init(k, batch) for expert, k in zip(self._experts, keys, strict=True)])

    def objectives(self) -> tuple[Objective, ...]:
        """Return one objective for each expert, which trains that expert alone."""
        return tuple(
            Objective(name=f"{i}.{PART}", wrt=(f"{i}.{PART}",), loss=self._loss(i)) for i in range(len(self.experts))
        )

    def density(self, variables: Variables, label: Label = None, num_rows: int = 0) -> EnergyDensity:
        """Return the density of the product; ``label`` must be None, because each expert has its own."""
        del num_rows
        if label is not None:
            raise ValueError(f"label is {label}, but the experts of a product have their own; leave it out")
        parts = [self.part(variables, i) for i in range(len(self.experts))]

        def energies(params: PyTree, x: Array) -> Array:
            total = jnp.zeros(x.shape[0], x.dtype)
            for i, (expert, part) in enumerate(zip(self._experts, parts, strict=True)):
                density = expert.model.density(part._replace(params={PART: params[i]}), expert.label, x.shape[0])
                total = total + expert.weight * density.energy(x)  # equation 1
            return total[:, None]

        base_variables = jax.lax.stop_gradient(parts[0].state["base"])
        params = [part.params[PART] for part in parts]
        return EnergyDensity(energies, params, self.base, base_variables, self.kernel)

    def _loss(self, index: int) -> LossFn:
        def loss(
            params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
        ) -> tuple[Array, tuple[PyTree, Metrics]]:
            part = self.part(Variables(params, state), index)
            value, (part_state, metrics) = self._experts[index].model.loss(*part, key, batch, step)
            return value, ({**state, str(index): part_state}, metrics)

        return loss
