"""Consistency models: one function that takes every point of a path from data to noise to the data where it begins.

The probability flow carries x_t along a path to some data. The consistency function f(x_t, t) is the end of that path,
so that it is the same at all points of a path and the identity on data. With a trained f, one evaluation maps noise to
data. The denoiser x̂₀ of a diffusion model is the identity where σ = 0 by its parametrization, and so may be f.

Two points x_t = α x₀ + σ ε, at the same x₀ and ε, are on the same path on average, if they are near. With the ratio
τ = σ/α of a level, and r the time where τ_r = ρ τ_t for a ratio 0 ≤ ρ < 1, training minimizes

    min_θ E_{x₀, ε, t} 1/(τ_t − τ_r) (√(‖f_θ(x_t, t) − f_θ⁻(x_r, r)‖² + c²) − c),        θ⁻ = stopgrad(θ),        (1)

with the same dropout in both evaluations, and f_θ⁻ = x₀ where τ_r is that of the data. The pseudo-Huber distance is
quadratic for errors much smaller than c, and their norm for larger ones. If ρ = 0, the minimizer of the quadratic
distance is the denoiser E[x₀ | x_t]: training begins as that of a diffusion model, or after it. As ρ → 1 it is the
consistency function. ρ grows in stages, by one of

    ShrinkingGap     ρ = max(0, 1 − n(τ_t) / q^a),        n(τ) = 1 + k sigmoid(−b τ),        a = 1, 2, …            (2)
    GridGap          τ_r^{1/7} = τ_t^{1/7} − (τ_end^{1/7} − τ_start^{1/7}) / N,        N = s₀, 2 s₀, 4 s₀, …       (3)

where N steps of (3) are those of the grid ``Karras``. With a trained denoiser, its estimates can take the place of the
data and the noise,

    x₀ ← x̂₀(x_t, t),        ε ← ε̂(x_t, t),                                                                       (4)

which leave x_t as it is and make x_r a step of DDIM on the denoiser's own path: this is consistency distillation, with
less variance and a bias of the denoiser's. Samples of N steps go to data and back with fresh noise,

    x̂₀ = f(x_t, t),        x_s = α_s x̂₀ + σ_s ε.                                                                 (5)

Equations 4 and 5: Yang Song, Prafulla Dhariwal, Mark Chen and Ilya Sutskever 2023, arXiv:2303.01469; equations 1 and 3:
Yang Song and Prafulla Dhariwal 2023, arXiv:2310.14189; equation 2, and tuning of a diffusion model: Zhengyang Geng,
Ashwini Pokle, William Luo, Justin Lin and J. Zico Kolter 2024, arXiv:2406.14548. Differences from the papers: times of
(3) are continuous, the denoiser's step in (4) is of DDIM rather than Heun's, and f is the identity at σ = 0 rather than
at the first level, as in the last of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, NonNegativeFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.diffusion.diffusion import PART, Diffusion
from genjax.diffusion.grids import Grid, GridName, Karras, Nested, NumSteps, finite_log_snrs
from genjax.diffusion.parametrizations import Data, broadcast_level, broadcast_times
from genjax.diffusion.processes import Level, NoiseProcess
from genjax.diffusion.samplers import Denoise, Sampler, Step
from genjax.diffusion.times import LogNormal, TimeDistribution
from genjax.ops import check_examples, check_leaf_shapes, sum_except_batch

RHO = 7.0  # of equation 3


@runtime_checkable
class Gap(Protocol):
    """Distance between the two points of a path that a consistency model compares."""

    def ratio(self, process: NoiseProcess, t: Array, step: Array) -> Array:
        """Return ρ = τ_r / τ_t in [0, 1), (B,), at times (B,) and after ``step`` steps of training; 0 for data."""
        ...


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ShrinkingGap:
    """Equation 2, for tuning of a diffusion model (Geng et al. 2024).

    Attributes:
      steps_per_stage: number of training steps of each a = 1, 2, …
      num_stages: number of stages, the last of which lasts until training ends.
      q: factor by which the gap shrinks from one stage to the next.
      k: factor 1 + k/2 of the gap at small noise.
      b: rate at which that factor falls with τ, in inverse units of the data.

    >>> from genjax.diffusion.processes import EDM
    >>> ShrinkingGap(steps_per_stage=100).ratio(EDM(), jnp.array([0.01, 80.0]), jnp.int32(0)).tolist()
    [0.0, 0.5]
    """

    steps_per_stage: PositiveInt = 1_000
    num_stages: PositiveInt = 8
    q: Annotated[float, Gt(1), Cure("; 2.0 is usual")] = 2.0
    k: NonNegativeFloat = 8.0
    b: NonNegativeFloat = 1.0

    def ratio(self, process: NoiseProcess, t: Array, step: Array) -> Array:
        """See ``Gap``."""
        a = 1 + jnp.minimum(step // self.steps_per_stage, self.num_stages - 1)
        n = 1 + self.k * jax.nn.sigmoid(-self.b * _noise_ratio(process, t))
        return jnp.maximum(1 - n * jnp.power(self.q, -a.astype(n.dtype)), 0.0)  # equation 2


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GridGap:
    """Equation 3, for training from scratch (Song and Dhariwal 2023).

    Attributes:
      steps_per_stage: number of training steps between two doublings of N.
      first: s₀, the first N.
      last: largest N.

    >>> from genjax.diffusion.processes import EDM
    >>> GridGap(first=1).ratio(EDM(), jnp.array([80.0]), jnp.int32(0)).round(4).tolist()
    [0.0]
    """

    steps_per_stage: PositiveInt = 1_000
    first: PositiveInt = 10
    last: PositiveInt = 1_280

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"first is {self.first} and last is {self.last}, but the grid grows; use last >= first")

    def ratio(self, process: NoiseProcess, t: Array, step: Array) -> Array:
        """See ``Gap``."""
        end, start = (math.exp(-0.5 * log_snr / RHO) for log_snr in finite_log_snrs(process))  # τ^{1/7}
        num_doublings = jnp.minimum(step // self.steps_per_stage, math.ceil(math.log2(self.last / self.first)))
        num_cells = jnp.minimum(self.first * jnp.exp2(num_doublings.astype(float)), self.last)
        root = jnp.power(_noise_ratio(process, t), 1 / RHO)
        earlier = root - (end - start) / num_cells  # equation 3
        return jnp.where(earlier < start, 0.0, jnp.power(jnp.maximum(earlier, start) / root, RHO))


@final
class _FreshNoise(Sampler):
    """Equation 5."""

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        del process
        data = denoise(x, t.time).data
        return Step(s.alpha * data + s.sigma * jax.random.normal(key, x.shape, x.dtype), carry, data)  # equation 5


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ConsistencyModel:
    """Consistency function in the shape of a diffusion model, whose trained parameters it may start from.

    Its variables are those of the diffusion model: pass those of a trained one to ``gradient_learner(init=…)`` or
    ``Experiment(init_from=…)``. The papers sample without guidance, and so does it.

    Attributes:
      denoiser: diffusion model whose x̂₀ is f, with its process, parametrization, coupling, classes and label dropout.
        What only a diffusion model trains and samples with, such as its weighting and its sampler, is not used.
      gap: ratio of the noise at the two points of a path, as training goes on.
      times: distribution of the times of training; the default is for data of standard deviation 0.5.
      huber: c of equation 1 as a fraction of the root of the number of elements of an example.
      num_steps: default number of sampling steps, each with one network evaluation.
      grid: time grid of sampling.

    Raises:
      ValueError: if the denoiser is not the identity on data, because it predicts the data.

    >>> from genjax import diffusion, nets
    >>> model = ConsistencyModel(
    ...     denoiser=diffusion.Diffusion(
    ...         shape=(2,),
    ...         net=nets.DenoisingMLP((16, 16)),
    ...         process=diffusion.processes.EDM(),
    ...         parametrization=diffusion.parametrizations.Preconditioned(),
    ...     )
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 2)
    """

    denoiser: Diffusion
    gap: Gap = field(default_factory=ShrinkingGap)
    times: TimeDistribution = field(default_factory=lambda: LogNormal(-1.1, 2.0))
    huber: Annotated[float, Gt(0), Cure("; 0.00054 is usual")] = 0.00054
    num_steps: PositiveInt = 1
    grid: Grid = field(default_factory=lambda: Nested(Karras(RHO)))

    def __post_init__(self) -> None:
        if isinstance(self.denoiser.parametrization, Data):
            raise ValueError(
                "parametrization of the denoiser is Data, whose x̂₀ is not x where there is no noise, as a consistency "
                "function must be; use Preconditioned, Velocity or Flow"
            )

    @property
    def num_classes(self) -> int | None:
        """The number of classes of the denoiser."""
        return self.denoiser.num_classes

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions of the denoiser that belong to examples; there is no guidance, and so no negative prompt."""
        return tuple(condition for condition in self.denoiser.conditions if condition.in_batch)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables of the denoiser; see ``Diffusion.init``."""
        return self.denoiser.init(key, batch)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss."""
        return (Objective(name="consistency", wrt=self.denoiser.objectives()[0].wrt, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 1, averaged over the batch, with one time for each example.

        A batch may contain ``"noise"`` and ``"time"``, as that of ``Diffusion.loss``. The metric ``inconsistency`` is
        the root mean squared difference of the two evaluations.
        """
        denoiser, process = self.denoiser, self.denoiser.process
        *keys, dropout_key = jax.random.split(key, 4)
        (x, noise), t, condition = denoiser.noise_batch(keys, batch, self.times)

        def evaluate(params: dict[str, PyTree], key: Array, t: Array) -> tuple[Array, PyTree]:
            level = broadcast_level(process, t, x)
            x_t, variables = level.alpha * x + level.sigma * noise, Variables(params, state)
            embedding = denoiser.embed(variables, condition, key, train=True)
            output, new_state = denoiser.network_output(variables, x_t, t, embedding, key, train=True)
            return denoiser.parametrization.predict(process, t, x_t, output).data, new_state

        tau, ratio = _noise_ratio(process, t), self.gap.ratio(process, t, step)
        tau_min = _noise_ratio(process, jnp.asarray(process.start, t.dtype))
        is_data = ratio * tau < tau_min
        r = jnp.clip(process.time(-2 * jnp.log(jnp.maximum(ratio * tau, tau_min))), process.start, process.end)
        f_t, new_state = evaluate(params, dropout_key, t)
        f_r, _ = evaluate(jax.lax.stop_gradient(params), jax.random.clone(dropout_key), r)  # the same dropout
        f_r = jnp.where(broadcast_times(is_data, x), x, f_r)
        squared, size = sum_except_batch(jnp.square(f_t - f_r)), x[0].size
        c = self.huber * math.sqrt(size)
        weight = 1 / (tau * (1 - jnp.where(is_data, 0.0, ratio)))
        loss = jnp.mean(weight * (jnp.sqrt(squared + c**2) - c))  # equation 1
        return loss, (state | {PART: new_state}, {"inconsistency": jnp.sqrt(jnp.mean(squared) / size)})

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        num_steps: NumSteps | None = None,
        grid: GridName | Grid | None = None,
        **condition: Any,
    ) -> Array:
        """Draw from the model by equation 5, (N, *shape).

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          num_steps: number of steps, each with one network evaluation; None for the model's own.
          grid: time grid or its name in ``diffusion.grids.GRIDS``; None for the model's own.
          condition: conditions of the denoiser by name, see ``Diffusion.sample``.
        """
        steps = self.num_steps if num_steps is None else num_steps
        grid = self.grid if grid is None else grid
        options = {"num_steps": steps, "grid": grid, "sampler": _FreshNoise()}
        return self.denoiser.sample(variables, key, num_samples, **options, **condition)

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw unit-variance noise (N, *shape)."""
        del variables
        return jax.random.normal(key, (num_samples, *self.denoiser.shape))

    def decode(self, variables: Variables, latent: Array, **condition: Any) -> Array:
        """Return the data (B, *shape) of unit-variance noise, by one evaluation of f."""
        process, latent = self.denoiser.process, check_examples(latent, self.denoiser.shape)
        end = jnp.asarray(process.end, latent.dtype)
        return self.denoiser.predict(variables, process.sigma(end) * latent, end, **condition).data


@check_arguments
def consistency_targets(model: ConsistencyModel, variables: Variables, key: Array, batch: Batch) -> dict[str, Array]:
    """Return a batch for the loss of a model that learns from a denoiser: equation 4.

    It is for ``Stage(batch=…)``, which passes on the denoiser's variables. Conditions are dropped here, as the
    denoiser's ``condition_dropout`` says, because its estimates belong to them.

    Args:
      model: consistency model, whose denoiser is the teacher's model, too.
      variables: variables of the trained denoiser.
      key: typed key.
      batch: batch of data, ``"x"`` (B, *shape), and its conditions.

    Returns:
      The batch with x̂₀ as ``"x"``, ε̂ as ``"noise"`` and t as ``"time"``.

    Raises:
      ValueError: if the data or the variables do not fit the denoiser.
    """
    denoiser, process = model.denoiser, model.denoiser.process
    needed = jax.eval_shape(denoiser.init, key, batch)
    check_leaf_shapes("the teacher", variables, needed, "use the model that the teacher was trained as")
    (x, noise), t, condition = denoiser.noise_batch(tuple(jax.random.split(key, 3)), batch, model.times)
    level = broadcast_level(process, t, x)
    x_t, embedding = level.alpha * x + level.sigma * noise, denoiser.embed(variables, condition)
    data, noise = denoiser.predict_embedded(variables, x_t, t, embedding)  # equation 4
    return {**batch, "x": data, "noise": noise, "time": t, **condition}


def _noise_ratio(process: NoiseProcess, t: Array) -> Array:
    """Return τ = σ/α."""
    return jnp.exp(-0.5 * process.log_snr(t))
