"""Uniform discrete diffusion: integers are replaced by random ones, and corrected until they fit together.

Noise replaces values by uniform ones, π = 1/K in equation 1 of ``discrete``, with α_t = 1 − t². A value that fits badly
can be drawn again at any time, unlike that of a masked diffusion, but the network is not told which values are noise.

Let z = x_t^i and r_t(y) = α_t x̂^i(y) + (1 − α_t)/K, which would be q(y | x^i) if x̂^i knew x^i. A step from t to s draws
each value from

    p(x_s^i = y | x_t) ∝ (α_t/α_s [y = z] + (1 − α_t/α_s)/K) r_s(y).                                             (1)

In infinitely many steps, values jump from z to y at the rate −α′/(αK) r(y)/r(z). That of the noise backwards, given x,
is −α′/(αK) q(y | x^i)/q(z | x^i), so that with the ratios a_y and b_y of both, without the common factor,

    log p(x) ≥ −∫_0^1 1/(αK) E_{x_t} Σ_i Σ_y (a_y log(a_y/b_y) − a_y + b_y) dα,                                  (2)

whose terms are all positive. The integral is over t here, dα = 2t dt, which bounds its terms' second moments: near the
data, few values are noise, but each costs K/(1 − α).

Both are exact where x̂^i is the distribution of x^i given the *other* values of x_t: r(y)/r(z) is then a ratio of
probabilities of the noisy data. What z says of x^i is in equation 1.

Steps and bound: Yair Schiff et al. 2024 (UDLM), arXiv:2412.10193; D3PM: Jacob Austin et al. 2021, arXiv:2107.03006;
jump rates: Andrew Campbell et al. 2022, arXiv:2205.14987.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree, Variables
from genjax.diffusion.discrete import DiscreteDiffusion, Temperature
from genjax.diffusion.grids import NumSteps
from genjax.diffusion.guidance import GuidanceWeight
from genjax.ops import categorical, fill_after_stop

MIN_TIME = 1e-3  # in the bound, whose integrand is about t log t before it; 32-bit uniform numbers are too coarse there


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class UniformDiffusion(DiscreteDiffusion):
    """Uniform diffusion of integers: texts, SMILES, grids of codes.

    Attributes:
      shape: shape of one example, without the batch axis: (T,) for texts, (H, W) for a grid.
      num_values: number of values, K ≥ 2; data are integers 0 … K − 1.
      net: network of the denoiser. Its inputs are integers 0 … K − 1 (B, *shape), times (B,) as noise levels, from 0
        for data to 1 for noise, and with classes a one-hot label (B, num_classes + 1), whose last entry is no label.
        Its outputs are logits (B, *shape, K).
      stop_token: token that ends a text, followed by nothing but itself; None if all texts have full length.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      condition_dropout: fraction of the training examples that get the null label, in [0, 1].

    >>> from genjax import nets
    >>> net = nets.TokenTransformer(num_values=5, num_layers=1, num_heads=1, features=8)
    >>> model = UniformDiffusion(shape=(2, 3), num_values=5, net=net)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 2, 3), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 7, num_steps=4).shape
    (7, 2, 3)
    """

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        num_steps: NumSteps = 100,
        temperature: Temperature = 1.0,
        guidance: GuidanceWeight = 1.0,
    ) -> Array:
        """Draw from the model, int32 (N, *shape).

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); None for any class. Only for models with classes.
          num_steps: number of steps, evenly spaced in t.
          temperature: temperature of x̂, above 0.
          guidance: weight of classifier-free guidance, at least 0; 1 is no guidance, 0 ignores the label.

        Raises:
          ValueError: if the model cannot apply the guidance.
        """
        log_probs = self._sampling_log_probs(variables, label, guidance, temperature)
        start_key, key = jax.random.split(key)
        x = jax.random.randint(start_key, (num_samples, self._size), 0, self.num_values)
        times = jnp.linspace(1.0, 0.0, num_steps + 1)

        def step(x: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            key, t, s = inputs
            ratio = _alpha(t) / _alpha(s)
            log_jump = _log_noisy(jnp.log(jax.nn.one_hot(x, self.num_values)), ratio)
            return categorical(key, log_jump + _log_noisy(log_probs(x, t), _alpha(s))), None  # equation 1

        x, _ = jax.lax.scan(step, x, (jax.random.split(key, num_steps), times[:-1], times[1:]))
        return fill_after_stop(x, self.stop_token).reshape(num_samples, *self.shape)

    def _negative_bound(
        self, log_probs: Callable[[Array, Array], tuple[Array, PyTree]], key: Array, x: Array, u: Array
    ) -> tuple[Array, PyTree]:
        """See ``DiscreteDiffusion``; estimate of equation 2 at one time."""
        t = jnp.maximum(u, MIN_TIME)
        noise_key, value_key = jax.random.split(key)
        is_noise = jax.random.bernoulli(noise_key, jnp.square(t)[:, None], x.shape)
        z = jnp.where(is_noise, jax.random.randint(value_key, x.shape, 0, self.num_values), x)
        log_prob, state = log_probs(z, t)
        alpha = _alpha(t)[:, None, None]
        log_q, log_r = (_log_noisy(p, alpha) for p in (jnp.log(jax.nn.one_hot(x, self.num_values)), log_prob))
        log_a, log_b = (p - jnp.take_along_axis(p, z[..., None], axis=-1) for p in (log_q, log_r))
        difference = log_b - log_a
        terms = jnp.exp(log_a) * (jnp.expm1(difference) - difference)  # a log(a/b) − a + b, of equation 2
        return 2 * t / (self.num_values * _alpha(t)) * jnp.sum(terms, axis=(1, 2)), state


def _alpha(t: Array) -> Array:
    return 1 - jnp.square(t)


def _log_noisy(log_prob: Array, alpha: Array) -> Array:
    """Return log(α p + (1 − α)/K) for log p (..., K)."""
    return jnp.logaddexp(jnp.log(alpha) + log_prob, jnp.log1p(-alpha) - jnp.log(log_prob.shape[-1]))
