"""The energy-based model: any network as an energy.

With an energy E, here the output of a network divided by a temperature τ, and a normalized base density p₀,

    p(x) = exp(−E(x)) p₀(x) / Z,        Z = ∫ exp(−E(x)) p₀(x) dx,                                                (1)

where Z is tractable only in one or two dimensions or for few bits. Rules train E without Z (``rules``), Markov chains
draw samples (``kernels``), and annealed importance sampling estimates log Z (``annealing``).

With K classes, the network returns the energy E(x, y) of each class y in the joint density

    p(x, y) = exp(−E(x, y)) p₀(x) / Z,        p(y | x) = softmax over y of −E(x, y),                              (2)

whose marginal p(x) has the energy E(x) = −log Σ_y exp(−E(x, y)): the logits −E(x, y) of a classifier define a density
(Will Grathwohl et al. 2020, arXiv:1912.03263).

Yann LeCun, Sumit Chopra, Raia Hadsell, Marc'Aurelio Ranzato and Fu Jie Huang 2006, "A tutorial on energy-based
learning"; Yilun Du and Igor Mordatch 2019, arXiv:1903.08689.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import Cure, PositiveFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.energy.bases import Base
from genjax.energy.density import EnergyDensity, check_kernel
from genjax.energy.diagnosis import diagnose
from genjax.energy.kernels import Kernel, Langevin
from genjax.energy.rules import Buffer, ContrastiveDivergence, Penalty, Rule
from genjax.energy.sampling import Label, SamplesEnergy
from genjax.nets import Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import at_least_float32, label_of, one_hot_label

PART = "net"


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class EnergyModel(SamplesEnergy):
    """Energy-based model (LeCun et al. 2006).

    Its state holds the state of the network, ``net``, the variables of the base, ``base``, and the states of the rules,
    ``rules``, such as buffers of chains.

    Attributes:
      net: network from data (B, *shape) to energies (B, 1), or (B, num_classes).
      base: base density p₀.
      rules: training rules, whose weighted losses are added.
      penalties: penalties, which are added to the loss.
      kernel: default kernel of the chains, in training and in ``sample``.
      num_steps: default number of kernel steps in ``sample``, and that in ``diagnose``.
      temperature: τ; energies are the network's outputs divided by it.
      num_classes: number of classes, K, or None for an unconditional model. With classes, batches have ``"label"``,
        int32 (B,).

    >>> from genjax import energy, nets
    >>> model = EnergyModel(net=nets.MLP((16, 1)), base=energy.Gaussian((2,)), kernel=energy.MALA(0.1))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 2))})
    >>> model.sample(variables, jax.random.key(1), 5).shape, model.log_prob(variables, jnp.zeros((3, 2))).shape
    ((5, 2), (3,))
    """

    net: Net
    base: Base
    rules: tuple[Rule, ...] = field(default_factory=lambda: (ContrastiveDivergence(),))
    penalties: tuple[Penalty, ...] = ()
    kernel: Kernel = field(default_factory=Langevin)
    num_steps: PositiveInt = 100
    temperature: PositiveFloat = 1.0
    num_classes: Annotated[int, Ge(2), Cure("; use None for an unconditional model")] | None = None

    def __post_init__(self) -> None:
        check_kernel(self.kernel, self.base)
        if not self.rules:
            raise ValueError("rules is empty, but training needs one; use energy.rules.ContrastiveDivergence()")
        for rule in self.rules:
            name = type(rule).__name__
            check_kernel(rule.kernel or self.kernel, self.base)
            if rule.needs_classes and self.num_classes is None:
                raise ValueError(f"rules has a {name}, but num_classes is None; set num_classes")
            if rule.discrete is not None and rule.discrete != self.base.discrete:
                raise ValueError(
                    f"rules has a {name}, which differentiates the density, but the base is of binary data; use "
                    "ContrastiveDivergence or NoiseContrastive"
                )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes, optional=True)

    @property
    def lacks(self) -> tuple[str, ...]:
        """``log_prob``, unless the base has a quadrature rule, and ``class_log_prob``, unless the model has classes."""
        return (*super().lacks, *(() if self.num_classes else ("class_log_prob",)))

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, lie outside the support of the base or are not finite, or if the
            network does not return one energy for each example and class.
        """
        net_key, base_key, rule_key = jax.random.split(key, 3)
        x = self.base.check(batch["x"])
        label_of(batch, self.num_classes)
        why = "one energy for each example" if self.num_classes is None else "one energy for each example and class"
        check_part(PART, NetSpec(self.net, (x,), (x.shape[0], self.num_classes or 1), why), net_key)
        params, net_state = init_net(self.net, net_key, x)
        base_variables = jax.lax.stop_gradient(self.base.init(base_key, batch))
        variables = Variables({PART: params}, {PART: net_state, "base": base_variables, "rules": {}})
        return self.with_new_rules(variables, rule_key)

    def with_base(self, variables: Variables, key: Array, base_variables: PyTree) -> Variables:
        """Return variables with the base's replaced, for example by a trained flow's, and the rules reinitialized."""
        return self.with_new_rules(Variables(variables.params, {**variables.state, "base": base_variables}), key)

    def with_new_rules(self, variables: Variables, key: Array) -> Variables:
        """Return variables with the rules reinitialized, for example after a stage with other rules."""
        density = self.density(variables)
        rules = {str(i): rule.init(density, jax.random.fold_in(key, i)) for i, rule in enumerate(self.rules)}
        return Variables(variables.params, {**variables.state, "rules": rules})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only objective, ``energy``."""
        return (Objective(name="energy", wrt=(PART,), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the weighted sum of the rules' losses plus the penalties, and the metrics of the rules.

        If two rules have a metric of the same name, that of the later rule ends with its number, as in
        ``energy_gap_1``. With penalties, the metric ``penalty`` is their sum.
        """
        x, label = self.base.check(batch["x"]), label_of(batch, self.num_classes)
        density = self.density(Variables(params, state))
        loss, metrics, samples, rule_states = jnp.zeros((), x.dtype), {}, [], {}
        for i, rule in enumerate(self.rules):
            rule_key = jax.random.fold_in(key, i)
            output = rule.loss(density, rule_key, x, label, state["rules"][str(i)], step)
            loss = loss + rule.weight * output.loss
            metrics |= {name if name not in metrics else f"{name}_{i}": v for name, v in output.metrics.items()}
            rule_states[str(i)] = output.state
            samples += [] if output.samples is None else [output.samples]
        if self.penalties:
            drawn = jax.lax.stop_gradient(jnp.concatenate(samples)) if samples else None
            metrics["penalty"] = jnp.sum(jnp.stack([penalty(density, x, drawn) for penalty in self.penalties]))
            loss = loss + metrics["penalty"]
        net_state = state[PART]
        if net_state:  # such as the singular vectors of spectral normalization
            dropout_key = jax.random.fold_in(key, len(self.rules))
            frozen = jax.lax.stop_gradient(params[PART])
            _, net_state = apply_net(self.net, frozen, net_state, x, key=dropout_key, train=True)
        return loss, ({**state, PART: net_state, "rules": rule_states}, metrics)

    def density(self, variables: Variables, label: Label = None, num_rows: int = 0) -> EnergyDensity:
        """Return the density for these variables; ``label`` is broadcast to ``num_rows`` positions."""
        one_hot = None if label is None else one_hot_label(label, self.num_classes, num_rows)
        return EnergyDensity(
            energies_of=functools.partial(self._energies, variables.state[PART]),
            params=variables.params[PART],
            base=self.base,
            base_variables=jax.lax.stop_gradient(variables.state["base"]),
            kernel=self.kernel,
            temperature=self.temperature,
            label=None if one_hot is None else jnp.argmax(one_hot, axis=-1),
        )

    def class_log_prob(self, variables: Variables, x: Array) -> Array:
        """Return log p(y | x) of all classes, equation 2, nats, (B, K), for data (B, *shape).

        Raises:
          ValueError: if the model has no classes.
        """
        if self.num_classes is None:
            raise ValueError("num_classes is None, but only a model with classes classifies; set num_classes")
        return self.density(variables).class_log_probs(self.base.check(x))

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Diagnose chains, energies and buffer on a batch; see ``genjax.energy.diagnosis``.

        Energies of data and samples are compared only if a rule contrasts them.
        """
        x = self.base.check(batch["x"])
        values = diagnose(self.density(variables), key, x, self.num_steps, self._buffer(variables))
        if not any(isinstance(rule, ContrastiveDivergence) for rule in self.rules):
            del values["energy_gap_per_entry"]
        return values

    def _energies(self, net_state: PyTree, params: PyTree, x: Array) -> Array:
        """Return the energies of all classes, (B, K), at least float32."""
        outputs, _ = apply_net(self.net, params, net_state, x)
        return at_least_float32(outputs) / self.temperature

    def _buffer(self, variables: Variables) -> Array | None:
        """Return the chains of the first rule with a buffer, (M, *shape), or None."""
        states = variables.state["rules"].values()
        return next((state.chains for state in states if isinstance(state, Buffer)), None)

    def _from_buffer(self, variables: Variables, key: Array, num_samples: int) -> Array:
        chains = self._buffer(variables)
        if chains is None:
            raise ValueError("start is 'buffer', but no rule of this model keeps chains; use start='noise'")
        if num_samples > chains.shape[0]:
            raise ValueError(
                f"num_samples is {num_samples}, but the buffer has {chains.shape[0]} chains; ask for at most as many, "
                "or use start='noise'"
            )
        return chains[jax.random.choice(key, chains.shape[0], (num_samples,), replace=False)]
