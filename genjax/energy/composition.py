"""Composition of energy models: densities are multiplied and divided by adding and subtracting energies.

Experts Eᵢ with weights wᵢ over one base, each possibly given a label of its own,

    p(x) ∝ p₀(x) exp(−Σᵢ wᵢ Eᵢ(x)),                                                                               (1)

have modes where all experts agree: a product finds what satisfies every condition at once, also conditions
that no data combined, and a negative weight avoids what an expert likes. No training is needed.

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
from genjax.energy.density import EnergyDensity, check_kernel
from genjax.energy.energy_model import PART, EnergyModel
from genjax.energy.kernels import Kernel
from genjax.energy.sampling import Label, SamplesEnergy


@final
@check_arguments
@dataclass(frozen=True)
class Expert:
    """A model in a product.

    Attributes:
      model: energy model.
      weight: w, factor on its energy; negative to avoid what it likes.
      label: class whose energy E(x, y) counts; None for E(x).
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
    """Return the expert with minus its weight."""
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
      experts: models, or ``Expert``s with a weight and a label, over equal bases.
      kernel: kernel of ``sample``.
      num_steps: default number of steps of ``sample``.

    >>> from genjax import energy, nets
    >>> expert = energy.EnergyModel(net=nets.MLP((16, 1)), base=energy.Gaussian((2,)), kernel=energy.MALA(0.1))
    >>> model = Product(experts=(expert, energy.Negation(expert)), kernel=energy.MALA(0.1))
    >>> variables = expert.init(jax.random.key(0), {"x": jnp.zeros((4, 2))})
    >>> both = model.join([variables, variables])  # an expert and its opposite leave the base alone
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
        """Return the product's variables from those of its experts, in their order.

        Raises:
          ValueError: if there is not one for each expert, or if their bases were fitted to different data.
        """
        if len(variables) != len(self.experts):
            raise ValueError(
                f"there are variables of {len(variables)} models, but {len(self.experts)} experts; give those of each"
            )
        base, *others = (each.state["base"] for each in variables)
        known = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((base, others)))
        if known and not all(jax.tree.all(jax.tree.map(np.array_equal, base, other)) for other in others):
            raise ValueError(
                "experts have bases with different variables, but must share one; give them the same by "
                "EnergyModel.with_base before they are trained"
            )
        params = {f"{i}.{name}": part for i, each in enumerate(variables) for name, part in each.params.items()}
        return Variables(params, {str(i): each.state for i, each in enumerate(variables)})

    def part(self, variables: Variables, index: NonNegativeInt) -> Variables:
        """Return the variables of one expert."""
        prefix = f"{index}."
        params = {name.removeprefix(prefix): p for name, p in variables.params.items() if name.startswith(prefix)}
        return Variables(params, variables.state[str(index)])

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize all experts, which are usually trained instead; see ``join``."""
        keys = jax.random.split(key, len(self.experts))
        experts = [(expert.model, k) for expert, k in zip(self._experts, keys, strict=True)]
        variables = [model.init(k, batch) for model, k in experts]
        base = variables[0].state["base"]
        return self.join([model.with_base(v, k, base) for v, (model, k) in zip(variables, experts, strict=True)])

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of the experts, each of which learns alone."""
        return tuple(
            Objective(name=f"{i}.{PART}", wrt=(f"{i}.{PART}",), loss=self._loss(i)) for i in range(len(self.experts))
        )

    def density(self, variables: Variables, label: Label = None, num_rows: int = 0) -> EnergyDensity:
        """Return the product's density; labels are those of the experts, so that ``label`` must be None."""
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
