"""Methods of energy-based models and of their products: energies, scores, chains, samples and likelihoods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, Variables
from genjax.energy.annealing import annealed_importance_sampling
from genjax.energy.bases import Base
from genjax.energy.density import EnergyDensity, check_kernel
from genjax.energy.kernels import HMC, MALA, NUTS, Chains, GibbsWithGradients, Kernel, Langevin, RandomWalk, run_chains
from genjax.energy.kernels.chains import advance
from genjax.ops import known_values, resolve_choice, sum_except_batch
from genjax.ops.importance import LogPartition, NumParticles

KERNELS: Mapping[str, Kernel] = {
    "langevin": Langevin(),
    "mala": MALA(),
    "hmc": HMC(),
    "nuts": NUTS(),
    "random_walk": RandomWalk(),
    "gibbs_with_gradients": GibbsWithGradients(),
}
KernelName = Literal["langevin", "mala", "hmc", "nuts", "random_walk", "gibbs_with_gradients"]
Label = Array | int | None
HELD = 100.0  # nats that moving a known bit costs
NUM_STEPS_WIDE = 10.0  # standard deviation of known values in NUTS, in step sizes
NUM_NODES = 800  # number of quadrature nodes along each axis


@check_arguments
class SamplesEnergy:
    """A density exp(−E(x)) p₀(x) / Z; subclasses define ``density``, ``base``, ``kernel`` and ``num_steps``."""

    base: Base
    kernel: Kernel
    num_steps: int

    def density(self, variables: Variables, label: Label = None, num_rows: int = 0) -> EnergyDensity:
        """Return the density for these variables; ``label`` is broadcast to ``num_rows`` positions."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.base.shape

    @property
    def discrete(self) -> bool:
        """Whether data are binary, so that ``log_prob`` is the log-probability of a state."""
        return self.base.discrete

    @property
    def lacks(self) -> tuple[str, ...]:
        """Names of unavailable methods: ``log_prob``, unless the base has a quadrature rule."""
        return () if self.base.can_integrate else ("log_prob",)

    def energy(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return E(x), or E(x, y) with a label, nats, (B,); it excludes the term −log p₀(x) of the base."""
        x = self.base.check(x)
        return self.density(variables, label, x.shape[0]).energy(x)

    def log_density(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return log p(x), or log p(x | y) with a label, up to an additive constant, nats, (B,)."""
        x = self.base.check(x)
        return self.density(variables, label, x.shape[0]).log_density(x)

    def score(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return the score, ∇ log p(x), or ∇ log p(x | y) with a label, (B, *shape)."""
        x = self.base.check(x)
        return self.density(variables, label, x.shape[0]).score(x)

    def log_prob(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return log p(x), or log p(x | y) with a label, nats, (B,).

        Z is a sum over a grid with 800 nodes along each axis, or over all states of binary data. The grid must resolve
        the energy: ``log_partitions`` should not change when ``num_nodes`` is halved. Nodes are 1/800 of the width of a
        ``Uniform`` base apart, or 1/50 of the standard deviation of a ``Gaussian`` one, which must be at most the
        standard deviation of the narrowest mode.

        Raises:
          ValueError: if there are more than 2 dimensions or 20 bits, or the data lie outside the support of the base.
        """
        x = self.base.check(x)
        density = self.density(variables, label, x.shape[0])
        log_z = self.log_partitions(variables)
        log_z = jax.nn.logsumexp(log_z) if density.label is None else log_z[density.label]
        return density.log_density(x) - log_z

    def log_partitions(self, variables: Variables, *, num_nodes: PositiveInt = NUM_NODES) -> Array:
        """Return log ∫ exp(−E(x, y)) p₀(x) dx for each class y, nats, (K,); K is 1 without classes.

        Raises:
          ValueError: if there are more than 2 dimensions or 20 bits.
        """
        if not self.base.can_integrate:
            raise ValueError(
                f"base is {self.base}, but only 1 or 2 dimensions, or at most 20 bits, can be integrated, and with a "
                "Pretrained base only through its decode; use log_prob_estimate"
            )
        return self.density(variables).log_partitions(num_nodes)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: NumParticles,
        *,
        label: Label = None,
        num_temperatures: PositiveInt = 1_000,
    ) -> Array:
        """Estimate log p(x), or log p(x | y) with a label, nats, (B,), by ``annealed_importance_sampling`` for log Z.

        The estimate is biased upwards, because that of log Z is biased downwards. ``num_samples`` is the number of
        particles; with a label, each class has that many.
        """
        x = self.base.check(x)
        density = self.density(variables, label, x.shape[0])

        def log_partition(key: Array, label: Array | None) -> Array:
            return self._annealed(density._replace(label=label), key, num_samples, num_temperatures).value

        if density.label is None:
            return density.log_density(x) - log_partition(key, None)
        classes = jnp.arange(cast(Any, self).num_classes)
        log_z = jax.lax.map(lambda each: log_partition(*each), (jax.random.split(key, classes.size), classes))
        return density.log_density(x) - log_z[density.label]

    def log_partition_estimate(
        self,
        variables: Variables,
        key: Array,
        num_samples: NumParticles,
        *,
        num_temperatures: PositiveInt = 1_000,
        kernel: Kernel | None = None,
        backwards_from: Array | None = None,
    ) -> LogPartition:
        """Estimate log Z, with a 99 % interval, by ``annealed_importance_sampling`` with ``num_samples`` particles."""
        density = self.density(variables)
        return self._annealed(density, key, num_samples, num_temperatures, kernel, backwards_from)

    def _annealed(
        self,
        density: EnergyDensity,
        key: Array,
        num_particles: int,
        num_temperatures: int,
        kernel: Kernel | None = None,
        backwards_from: Array | None = None,
    ) -> LogPartition:
        if kernel is None and (self.discrete or self.kernel.adjusted):
            kernel = self.kernel
        return annealed_importance_sampling(
            density,
            key,
            num_particles=num_particles,
            num_temperatures=num_temperatures,
            kernel=kernel,
            backwards_from=backwards_from,
        )

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Label = None,
        num_steps: NonNegativeInt | None = None,
        start: Literal["noise", "buffer"] = "noise",
        kernel: KernelName | Kernel | None = None,
        step_size: PositiveFloat | None = None,
    ) -> Array:
        """Draw samples, (N, *shape), each the last state of its own chain.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or of each, int32 (N,), for p(x | y), in a model with classes; None for p(x).
          num_steps: number of kernel steps; None for the model's ``num_steps``.
          start: initial states of the chains: ``"noise"`` for samples of the base, or ``"buffer"`` for the chains of
            training.
          kernel: kernel or its name; None for the model's kernel.
          step_size: step size of the kernel; None for the kernel's own.

        Raises:
          ValueError: if the kernel is unknown, lacks a step size or does not suit the data, or if there is no buffer of
            at least N chains.
        """
        start_key, chain_key = jax.random.split(key)
        density = self.density(variables, label, num_samples)
        if start == "buffer":
            x = self._from_buffer(variables, start_key, num_samples)
        else:
            x = density.sample_base(start_key, num_samples)
        kernel = self._kernel(kernel, step_size)
        num_steps = self.num_steps if num_steps is None else num_steps
        if num_steps == 0:
            return x
        return self.base.fold(advance(kernel, density.log_density, chain_key, x, num_steps)[0].x)

    def chains(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_steps: PositiveInt,
        *,
        label: Label = None,
        kernel: KernelName | Kernel | None = None,
        step_size: PositiveFloat | None = None,
    ) -> Chains:
        """Run chains from x, (N, *shape), with convergence diagnostics; see ``run_chains`` and ``sample``."""
        x = self.base.check(x)
        density = self.density(variables, label, x.shape[0])
        chains = run_chains(self._kernel(kernel, step_size), density.log_density, key, x, num_steps)
        return chains._replace(x=self.base.fold(chains.x))

    def impute(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        mask: Array,
        *,
        label: Label = None,
        num_steps: PositiveInt | None = None,
        kernel: KernelName | Kernel | None = None,
        step_size: PositiveFloat | None = None,
    ) -> Array:
        """Draw the unknown values of x, (B, *shape), given the known ones, which chains hold fixed.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          x: examples, whose unknown values may be anything, NaN included.
          mask: bool, True where x is known, broadcastable to x.
          label: class of all examples, or int32 (B,), in a model with classes; None for p(x).
          num_steps: number of kernel steps, which start from the base; None for the model's ``num_steps``.
          kernel: kernel or its name; None for the model's kernel.
          step_size: step size of the kernel; None for the kernel's own.

        Raises:
          ValueError: if x or the mask has another shape, the mask is not bool, the base does not support the known
            values, or for the kernel as in ``sample``.
        """
        start_key, chain_key = jax.random.split(key)
        x, mask = known_values(x, mask, self.shape)
        kernel, density = self._kernel(kernel, step_size), self.density(variables, label, x.shape[0])
        start = density.sample_base(start_key, x.shape[0])
        x = self.base.check(jnp.where(mask, x.astype(start.dtype), start))

        def log_density(y: Array) -> Array:  # the chain may move known values, but they count as x
            return density.log_density(jnp.where(mask, x, y)) + held(y, x, mask, kernel)

        num_steps = self.num_steps if num_steps is None else num_steps
        state, _, _ = advance(kernel, log_density, chain_key, x, num_steps)
        return jnp.where(mask, x, self.base.fold(state.x))

    def _kernel(self, kernel: KernelName | Kernel | None, step_size: float | None) -> Kernel:
        chosen: Kernel = resolve_choice("kernel", kernel, KERNELS, self.kernel)
        if step_size is not None:
            if not hasattr(chosen, "step_size"):
                raise ValueError(f"step_size is {step_size}, but {chosen} has none; leave it out")
            chosen = cast(Any, replace)(chosen, step_size=step_size)
        check_kernel(chosen, self.base)
        return chosen

    def _from_buffer(self, variables: Variables, key: Array, num_samples: int) -> Array:
        raise ValueError("start is 'buffer', but this model keeps no chains; use start='noise'")


def held(y: Array, x: Array, mask: Array, kernel: Kernel) -> Array | float:
    """Return a log-density of the known values of y, (B,), that makes a kernel move the others; 0 at y = x.

    Flips of known bits are never proposed. Trajectories of NUTS do not turn where the density is flat, so known real
    numbers get Gaussians ten step sizes wide.
    """
    if kernel.discrete:
        held = HELD * (2 * x - 1) * (y - x)
    elif isinstance(kernel, NUTS):
        held = -0.5 * jnp.square((y - x) / (NUM_STEPS_WIDE * kernel.step_size))
    else:
        return 0.0
    return sum_except_batch(jnp.where(mask, held, 0.0))
