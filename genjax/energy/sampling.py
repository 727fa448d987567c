"""What every density with an energy can do: energies, scores, chains, samples and likelihoods."""

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
from genjax.energy.density import EnergyDensity
from genjax.energy.kernels import HMC, MALA, NUTS, Chains, GibbsWithGradients, Kernel, Langevin, RandomWalk, run_chains
from genjax.energy.kernels.chains import advance
from genjax.ops import resolve_choice
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
NUM_NODES = 400  # of a quadrature, along each axis


@check_arguments
class SamplesEnergy:
    """A density exp(−E(x)) p₀(x) / Z; subclasses define ``density``, ``base``, ``kernel`` and ``num_steps``."""

    base: Base
    kernel: Kernel
    num_steps: int

    def density(self, variables: Variables, label: Label = None, num_rows: int = 0) -> EnergyDensity:
        """Return the density at some variables, for labels of ``num_rows`` positions."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, that of the base."""
        return self.base.shape

    @property
    def discrete(self) -> bool:
        """Whether likelihoods are log-masses of binary data."""
        return self.base.discrete

    @property
    def lacks(self) -> tuple[str, ...]:
        """Names of unavailable methods: ``log_prob``, unless the base can integrate."""
        return () if self.base.can_integrate else ("log_prob",)

    def energy(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return E(x), or E(x, y) of a label, nats, (B,); the base p₀ is not part of it."""
        return self.density(variables, label, x.shape[0]).energy(self.base.check(x))

    def log_density(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return log p(x) up to a constant that does not depend on x, nats, (B,)."""
        return self.density(variables, label, x.shape[0]).log_density(self.base.check(x))

    def score(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return ∇ log p(x), (B, *shape)."""
        return self.density(variables, label, x.shape[0]).score(self.base.check(x))

    def log_prob(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return log p(x), or log p(x | y) of a label, nats, (B,).

        Z is a sum over a grid of 400 nodes along each axis, or over all states of bits. Nodes must be at most one
        standard deviation of the narrowest mode apart, so that twice as many (``log_partitions``) change nothing; 400
        on a ``Uniform`` base resolve 1/400 of its width, on a ``Gaussian`` one 1/25 of its standard deviation. Over a
        flow, sharp modes may need 800.

        Raises:
          ValueError: if there are more than 2 dimensions or 20 bits, or the data are outside the support.
        """
        x = self.base.check(x)
        density = self.density(variables, label, x.shape[0])
        log_z = self.log_partitions(variables)
        log_z = jax.nn.logsumexp(log_z) if density.label is None else log_z[density.label]
        return density.log_density(x) - log_z

    def log_partitions(self, variables: Variables, *, num_nodes: PositiveInt = NUM_NODES) -> Array:
        """Return log ∫ exp(−E(x, y)) p₀(x) dx of every class y, nats, (K,); K is 1 without classes.

        Raises:
          ValueError: if there are more than 2 dimensions or 20 bits.
        """
        if not self.base.can_integrate:
            raise ValueError(
                f"base is {self.base}, but only 1 or 2 dimensions, or at most 20 bits, can be integrated; use "
                "log_prob_estimate"
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
        """Return log p(x), or log p(x | y), nats, (B,), with log Z by annealed importance sampling; see its arguments.

        It is slightly too high on average. ``num_samples`` is the number of particles, for each class with labels.
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
        """Estimate log Z with an interval, by ``annealed_importance_sampling`` of ``num_samples`` particles."""
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
        """Draw samples, (N, *shape), each the end of its own chain.

        Args:
          variables: variables from ``init`` or training.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); None for any class. Only for models with classes.
          num_steps: number of steps of the kernel; None for the model's own.
          start: where chains start: ``"noise"``, samples of the base, or ``"buffer"``, the ends of training's chains.
          kernel: kernel or its name; None for the model's own.
          step_size: step size of the kernel; None for its own.

        Raises:
          ValueError: if there is no kernel of this name, no buffer, or a buffer of fewer chains than N.
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
        """Run chains from x, (N, *shape), and diagnose how well they mix; see ``run_chains`` and ``sample``."""
        density = self.density(variables, label, x.shape[0])
        chains = run_chains(self._kernel(kernel, step_size), density.log_density, key, self.base.check(x), num_steps)
        return chains._replace(x=self.base.fold(chains.x))

    def _kernel(self, kernel: KernelName | Kernel | None, step_size: float | None) -> Kernel:
        chosen: Kernel = resolve_choice("kernel", kernel, KERNELS, self.kernel)
        if step_size is not None:
            if chosen.target_acceptance is None and not hasattr(chosen, "step_size"):
                raise ValueError(f"step_size is {step_size}, but {chosen} has none; leave it out")
            chosen = cast(Any, replace)(chosen, step_size=step_size)
        check_kernel(chosen, self.base)
        return chosen

    def _from_buffer(self, variables: Variables, key: Array, num_samples: int) -> Array:
        raise ValueError("start is 'buffer', but this model keeps no chains; use start='noise'")


def check_kernel(kernel: Kernel, base: Base) -> None:
    """Raise if a kernel cannot move the data of a base."""
    if kernel.discrete != base.discrete:
        moves, data = ("binary data" if discrete else "real numbers" for discrete in (kernel.discrete, base.discrete))
        cure = "energy.GibbsWithGradients()" if base.discrete else "energy.MALA(), for example"
        raise ValueError(f"kernel is {kernel}, which moves {moves}, but the base is of {data}; use {cure}")
