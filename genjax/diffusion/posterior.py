"""Posterior guidance: a trained model draws x₀ given a measurement y = A x₀ + σ_y n.

The score of x_t given y is the model's own and that of a likelihood,

    ∇ log p(x_t | y) = ∇ log p(x_t) + ∇ log p(y | x_t),        p(y | x_t) = ∫ p(y | x₀) p(x₀ | x_t) dx₀,             (1)

whose integral is unknown. The denoiser knows the mean x̂₀(x_t) of p(x₀ | x_t), and each method replaces p(x₀ | x_t) by a
Gaussian N(x̂₀, V). With the residual r = y − A x̂₀ and the Jacobian J = ∂x̂₀/∂x_t,

    ∇ log p(y | x_t) ≈ Jᵀ Aᵀ u,        (A V Aᵀ + σ_y² I) u = r,                                                   (2)

    DPS               u = ζ r / ‖r‖: V = 0 and a step size ζ in place of ‖r‖ / σ_y², the gradient of −ζ ‖y − A x̂₀‖
    PiGDM             V = r_t² I with r_t² = s² σ² / (s² α² + σ²): exact if x₀ ~ N(μ, s² I)
    MomentMatching    V = (σ²/α) J, which is the covariance of p(x₀ | x_t) by Tweedie's formula: exact if x₀ is Gaussian

The last system is solved by conjugate gradients, with one product with J for each iteration. As for the guidance by a
classifier, x̂₀ and ε̂ follow from the score g = Jᵀ Aᵀ u of equation 2 by

    x̂₀ ← x̂₀ + (σ²/α) g,        ε̂ ← ε̂ − σ g.                                                                       (3)

DPS: Hyungjin Chung et al. 2023, arXiv:2209.14687, who subtract ζ′ ∇‖y − A x̂₀‖ after each of 1,000 ancestral steps; that
is ζ = ζ′/β_t here. ΠGDM: Jiaming Song, Arash Vahdat, Morteza Mardani and Jan Kautz, "Pseudoinverse-guided diffusion
models for inverse problems", ICLR 2023; without their additional weights. Moment matching: Benjamin Boys et al. 2024,
arXiv:2310.06721; by conjugate gradients: François Rozet, Gérôme Andry, François Lanusse and Gilles Louppe 2024,
arXiv:2405.13712.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from genjax.arguments import Cure, NonNegativeFloat, check_arguments
from genjax.core import Array, Variables
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.grids import Grid, GridName, NumSteps
from genjax.diffusion.loop import sample_loop
from genjax.diffusion.operators import Operator, check_measurement
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import Level, NoiseProcess, level_at
from genjax.diffusion.samplers import SAMPLERS, Ancestral, Denoise, Sampler, SamplerName
from genjax.ops import resolve_choice, sum_except_batch

MIN_ALPHA = 1e-3  # below it x_t holds almost no signal, and J would be divided by its own rounding
TINY = 1e-30  # keeps quotients of zeros at zero

Product = Callable[[Array], Array]


@runtime_checkable
class Method(Protocol):
    """An approximation of p(y | x_t)."""

    def weigh(
        self, level: Level, operator: Operator, covariance: Product, noise_scale: float, residual: Array
    ) -> Array:
        """Return u of equation 2, (B, ...).

        Args:
          level: noise level.
          operator: A.
          covariance: product with A V Aᵀ + σ_y² I for V = (σ²/α) J.
          noise_scale: σ_y.
          residual: y − A x̂₀, (B, ...).
        """
        ...


@final
@check_arguments
@dataclass(frozen=True)
class DPS(Method):
    """The gradient of the distance ‖y − A x̂₀‖ with a step size.

    Attributes:
      step_size: ζ, above 0, in units of 1 / σ_y; √M / σ_y for M measured values is right at the end of sampling, and
        smaller steps keep few-step samplers stable.
    """

    step_size: Annotated[float, Gt(0), Cure("; 10 to 100 is usual")] = 30.0

    def weigh(
        self, level: Level, operator: Operator, covariance: Product, noise_scale: float, residual: Array
    ) -> Array:
        """See ``Method``."""
        del level, operator, covariance, noise_scale
        norm = jnp.sqrt(_inner(residual, residual))
        return self.step_size * residual / jnp.maximum(norm, TINY)


@final
@check_arguments
@dataclass(frozen=True)
class PiGDM(Method):
    """A spherical Gaussian, whose variance is that of data of one standard deviation.

    Attributes:
      data_scale: standard deviation of the data, s.
    """

    data_scale: Annotated[float, Gt(0), Cure("; 1.0 is usual")] = 1.0

    def weigh(
        self, level: Level, operator: Operator, covariance: Product, noise_scale: float, residual: Array
    ) -> Array:
        """See ``Method``."""
        del covariance
        signal, noise = jnp.square(self.data_scale * level.alpha), jnp.square(level.sigma)
        variance = self.data_scale**2 * noise / (signal + noise)  # r_t²
        return operator.solve(residual, variance, noise_scale**2)


@final
@check_arguments
@dataclass(frozen=True)
class MomentMatching(Method):
    """The Gaussian with the mean and the covariance of the denoiser.

    Attributes:
      num_iterations: number of conjugate-gradient iterations, each with one product with Jᵀ; exact for Gaussian data
        where it is at least the number of measured values.
    """

    num_iterations: Annotated[int, Ge(1), Cure("; 3 to 10 is usual")] = 5

    def weigh(
        self, level: Level, operator: Operator, covariance: Product, noise_scale: float, residual: Array
    ) -> Array:
        """See ``Method``."""
        del level, operator, noise_scale
        return conjugate_gradients(covariance, residual, self.num_iterations)


MethodName = Literal["dps", "pigdm", "moment-matching"]
METHODS: Mapping[str, Method] = {"dps": DPS(), "pigdm": PiGDM(), "moment-matching": MomentMatching()}


@check_arguments
def posterior_guidance(
    denoise: Denoise,
    process: NoiseProcess,
    y: Array,
    operator: Operator,
    *,
    noise_scale: NonNegativeFloat,
    method: MethodName | Method = "pigdm",
) -> Denoise:
    """Return the denoiser of equation 3.

    Args:
      denoise: denoiser of the model.
      process: noise process.
      y: measurements (B, ...), one for each example.
      operator: A.
      noise_scale: standard deviation σ_y of the noise in y, at least 0.
      method: method or its name in ``METHODS``.
    """
    method = resolve_choice("method", method, METHODS, PiGDM())

    def guided(x: Array, t: Array) -> Prediction:
        def measure(x: Array) -> tuple[Array, Prediction]:
            prediction = denoise(x, t)
            return operator(prediction.data), prediction

        level = level_at(process, t)
        measured, pull_back, prediction = jax.vjp(measure, x, has_aux=True)
        gain = jnp.where(level.alpha > MIN_ALPHA, jnp.square(level.sigma) / jnp.maximum(level.alpha, MIN_ALPHA), 0)

        def covariance(u: Array) -> Array:
            return operator(gain * pull_back(u)[0]) + noise_scale**2 * u  # A V Aᵀ u + σ_y² u

        u = method.weigh(level, operator, covariance, noise_scale, y - measured)
        (score,) = pull_back(u)  # equation 2
        return Prediction(prediction.data + gain * score, prediction.noise - level.sigma * score)  # equation 3

    return guided


@check_arguments
def restore(
    model: Diffusion,
    variables: Variables,
    key: Array,
    y: Array,
    operator: Operator,
    *,
    noise_scale: NonNegativeFloat,
    method: MethodName | Method = "pigdm",
    num_steps: NumSteps | None = None,
    sampler: SamplerName | Sampler | None = None,
    grid: GridName | Grid | None = None,
    **guidance: Any,
) -> Array:
    """Draw x₀ (B, *shape) given measurements y = A x₀ + σ_y n of it.

    Args:
      model: trained model.
      variables: its variables.
      key: typed key.
      y: measurements (B, ...), on the scale of the model's data.
      operator: A, see ``genjax.diffusion.operators``.
      noise_scale: standard deviation σ_y of the noise in y, at least 0. Values above that of the noise allow for errors
        of the model.
      method: approximation of the likelihood, or its name in ``METHODS``.
      num_steps: number of steps; None for the model's own.
      sampler: sampler or its name; None for ``Ancestral()``, whose noise corrects the errors of guidance.
      grid: time grid or its name; None for the model's own.
      guidance: other keyword arguments of ``Diffusion.sample``, such as ``label``.

    Raises:
      ValueError: if the operator does not fit the examples, or y the operator, or y is not finite.

    >>> from genjax import nets
    >>> from genjax.diffusion.operators import AveragePool
    >>> model = Diffusion(shape=(4, 4, 1), net=nets.DenoisingMLP((8,)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 4, 4, 1))})
    >>> y = jnp.zeros((3, 2, 2, 1))
    >>> restore(model, variables, jax.random.key(1), y, AveragePool(2), noise_scale=0.1, num_steps=2).shape
    (3, 4, 4, 1)
    """
    y, denoise = check_measurement(operator, y, model.shape), model.denoiser(variables, **guidance)
    denoise = posterior_guidance(denoise, model.process, y, operator, noise_scale=noise_scale, method=method)
    levels = model.levels(num_steps, grid)
    noise_key, loop_key = jax.random.split(key)
    x = levels.sigma[0] * jax.random.normal(noise_key, (y.shape[0], *model.shape))
    sampler = resolve_choice("sampler", sampler, SAMPLERS, Ancestral())
    return sample_loop(sampler, model.process, denoise, levels, loop_key, x)[0]


def conjugate_gradients(product: Product, b: Array, num_iterations: int) -> Array:
    """Return the solution of ``product(x) = b`` after a number of iterations, for each example (B, ...) on its own.

    >>> matrix = jnp.array([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradients(lambda x: x @ matrix, jnp.array([[3.0, 4.0]]), 2).round(4).tolist()
    [[1.0, 1.0]]
    """

    def iterate(_: Any, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, residual, direction = carry
        image, squared = product(direction), _inner(residual, residual)
        curvature = _inner(direction, image)
        step = jnp.where(curvature > TINY, squared / jnp.maximum(curvature, TINY), 0)  # 0 once it has converged
        next_residual = residual - step * image
        ratio = _inner(next_residual, next_residual) / jnp.maximum(squared, TINY)
        return x + step * direction, next_residual, next_residual + ratio * direction

    return jax.lax.fori_loop(0, num_iterations, iterate, (jnp.zeros_like(b), b, b))[0]


def _inner(a: Array, b: Array) -> Array:
    """Return the inner product of each example, shaped to broadcast against (B, ...)."""
    return sum_except_batch(a * b).reshape(-1, *[1] * (a.ndim - 1))
