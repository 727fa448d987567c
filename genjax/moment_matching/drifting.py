"""Drifting: a generator whose samples move along a kernel mean shift until their distribution is that of the data.

For a kernel k, the mean shift from x towards points y of a set Y leads to their weighted mean,

    m_Y(x) = Σ_{y∈Y} k(x, y) y / Σ_{y∈Y} k(x, y).                                                                 (1)

Samples are attracted by data P and repelled by other samples Q. Their drift

    V(x) = m_P(x) − m_Q(x)                                                                                       (2)

changes its sign if P and Q change places, so that it vanishes where both are equal. Training moves the generator's
samples along it,

    L = 1/D E ‖x − sg(x + Σ_τ V_τ(x) / λ_τ)‖²,        λ_τ² = 1/D E ‖V_τ(x)‖²,                                     (3)

where sg stops gradients and every width τ of the kernel counts alike. There is no adversary, and sampling takes one
evaluation. In Q, a sample does not repel itself. With classes, samples drift among data and samples of their class, so
that minibatches need several examples of each.

Wide kernels spread samples over the data, and narrow ones sharpen them. Samples that start closer together than modes
of the data stay in one mode if the kernels are narrow, so widths may start larger by a factor and shrink geometrically.

For the Gaussian kernel, V = τ² ∇ log p_τ/q_τ is the difference of the scores of both kernel density estimates: samples
follow the gradient flow of KL(q_τ ‖ p_τ). With the sums of equation 1 not normalized, they would follow that of MMD²
(``genjax.ops.mmd``), which vanishes far from the data, where the mean shift does not. The exponential kernel
exp(−|x − y|/τ) is the paper's.

Mingyang Deng, He Li, Tianhong Li, Yilun Du and Kaiming He 2026, arXiv:2602.04770; the relation to scores and shrinking
widths: Erkan Turan and Maks Ovsjanikov 2026, arXiv:2603.09936.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, MinLen

from genjax.arguments import Cure, NumClasses, PositiveFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, check_part, init_net
from genjax.ops import at_least_float32, condition_inputs, label_of
from genjax.ops.distances import matmul, squared_distances

Kernel = Literal["exponential", "gaussian"]
MIN_DRIFT = 1e-8  # below the rounding error of a mean shift


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Drifting:
    """A generator trained along the drift of its samples.

    Attributes:
      latent_dim: dimension of the noise.
      generator: network from normal noise (B, latent_dim), and with classes a one-hot label (B, num_classes), to data
        (B, ...).
      widths: final widths τ of the kernel, in units of the data.
      initial_scale: factor on the widths at the first step, at least 1; it should widen one to the size of the data.
      annealing_steps: number of steps in which this factor shrinks to 1.
      kernel: "exponential", exp(−|x − y|/τ), or "gaussian", exp(−|x − y|²/(2τ²)).
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).

    >>> from genjax import nets
    >>> model = Drifting(latent_dim=2, generator=nets.MLP((8, 3)), widths=(0.1, 1.0))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    >>> model.sample(variables, jax.random.key(1), 5).shape
    (5, 3)
    """

    latent_dim: PositiveInt
    generator: Net
    widths: Annotated[tuple[PositiveFloat, ...], MinLen(1)]
    initial_scale: Annotated[float, Ge(1), Cure("; 1 keeps the widths")] = 1.0
    annealing_steps: PositiveInt = 1
    kernel: Kernel = "exponential"
    num_classes: NumClasses | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ...).

        Raises:
          ValueError: before anything compiles, if the output of the generator does not have the shape of the data.
        """
        x = batch["x"]
        label = label_of(batch, self.num_classes)
        noise = jnp.zeros((x.shape[0], self.latent_dim))
        arguments = (noise, *condition_inputs(label, self.num_classes, x.shape[0]))
        check_part("generator", NetSpec(self.generator, arguments, x.shape, "matching x"), key)
        params, state = init_net(self.generator, key, *arguments)
        return Variables({"generator": params}, {"generator": state})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss, over the generator."""
        return (Objective(name="drift", wrt=("generator",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 3 for as many samples as data, of the same classes.

        Its value says little, because drifts are normalized; the metric ``drift`` is the mean of λ over the widths, in
        units of the data.
        """
        data = at_least_float32(batch["x"])
        data = data.reshape(data.shape[0], -1)
        label = label_of(batch, self.num_classes)
        noise_key, dropout_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (data.shape[0], self.latent_dim))
        inputs = (noise, *condition_inputs(label, self.num_classes, data.shape[0]))
        x, new_state = apply_part(self, "generator", Variables(params, state), *inputs, key=dropout_key, train=True)
        x = at_least_float32(x).reshape(data.shape)
        label = jnp.zeros(data.shape[0], jnp.int32) if label is None else label
        same_class = label[:, None] == label[None]
        others = same_class & ~jnp.eye(data.shape[0], dtype=bool)

        scale = self.initial_scale ** jnp.maximum(0.0, 1.0 - step / self.annealing_steps)
        options = {"kernel": self.kernel, "attracts": same_class, "repels": others}
        drifts = [drift(x, data, x, scale * width, **options) for width in self.widths]
        sizes = [jnp.sqrt(jnp.mean(jnp.square(each))) for each in drifts]  # λ
        total = sum(each / jnp.maximum(size, MIN_DRIFT) for each, size in zip(drifts, sizes, strict=True))
        loss = jnp.mean(jnp.square(x - jax.lax.stop_gradient(x + total)))  # equation 3
        return loss, ({"generator": new_state}, {"drift": jnp.mean(jnp.stack(sizes))})

    def sample(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Array | int | None = None
    ) -> Array:
        """Draw from the model, (num_samples, ...)."""
        return self.decode(variables, self.sample_prior(variables, key, num_samples), label=label)

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Generate data from noise (B, latent_dim)."""
        condition = condition_inputs(label, self.num_classes, latent.shape[0])
        return apply_part(self, "generator", variables, latent, *condition)[0]

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw standard normal noise, (num_samples, latent_dim)."""
        del variables
        return jax.random.normal(key, (num_samples, self.latent_dim))


@check_arguments
def drift(
    x: Array,
    data: Array,
    samples: Array,
    width: PositiveFloat | Array,
    *,
    kernel: Kernel = "exponential",
    attracts: Array | None = None,
    repels: Array | None = None,
) -> Array:
    """Return the drift of points x, equation 2, (B, D), through which no gradient flows.

    Args:
      x: points, (B, D).
      data: points that attract, P, (N, D).
      samples: points that repel, Q, (M, D).
      width: width of the kernel, τ, above 0, in units of the data.
      kernel: see ``Drifting``.
      attracts: bool (B, N), which of the data attract which point; None for all.
      repels: bool (B, M), which of the samples repel which point; None for all. A point that nothing attracts, or that
        nothing repels, does not drift.

    >>> x, data = jnp.array([[0.0]]), jnp.array([[1.0]])
    >>> drift(x, data, jnp.array([[-1.0]]), 1.0).tolist()
    [[2.0]]
    """
    for name, points in (("data", data), ("samples", samples)):
        if points.ndim != 2 or x.ndim != 2 or points.shape[1] != x.shape[1]:
            raise ValueError(
                f"x has shape {x.shape} and {name} {points.shape}, but must be (B, D) and (N, D); flatten examples"
            )
    # Distances do not depend on the origin, but their rounding does.
    center = jnp.mean(data, axis=0)[None]
    x, data, samples = (jax.lax.stop_gradient(points) - center for points in (x, data, samples))
    (to_data, has_data), (to_samples, has_samples) = (
        _mean_shift(x, points, width, kernel, mask) for points, mask in ((data, attracts), (samples, repels))
    )
    return jnp.where(has_data & has_samples, to_data - to_samples, 0.0)  # equation 2


def _mean_shift(
    x: Array, points: Array, width: float | Array, kernel: Kernel, mask: Array | None
) -> tuple[Array, Array]:
    """Return equation 1, (B, D), and whether there is any point for each x, (B, 1)."""
    squared = squared_distances(x, points)
    log_kernel = -jnp.sqrt(squared) / width if kernel == "exponential" else -0.5 * squared / width**2
    mask = jnp.ones(squared.shape, bool) if mask is None else mask
    exists = jnp.any(mask, axis=1, keepdims=True)
    weights = jax.nn.softmax(jnp.where(mask | ~exists, log_kernel, -jnp.inf), axis=1)
    return matmul(weights, points), exists
