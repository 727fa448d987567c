"""Masked diffusion: integers are masked one after the other, and predicted from those that are left.

Noise replaces values by a mask, π(mask) = 1 in equation 1 of ``discrete``. Let S be the set of the n masked positions
of x_t, all sets of a size being equally probable. A value that is not masked is known, x̂ predicts the others, and

    log p(x) ≥ Σ_{n=1}^D 1/n E_{|S|=n} [Σ_{i∈S} log x̂^i(x^i | x_t)]                                              (1)

is the bound for infinitely many steps, whatever α_t: the integral over time of MDLM and MD4, −∫ α′/(1 − α) E[·] dt,
with the number n in place of the time. Its estimate needs one n and one S, and has no weight that is unbounded in time.
The bound is the mean of log p over all orders in which the positions can be unmasked one by one, so that it is log p(x)
itself where x̂ are the conditionals of one distribution.

Samples start from masks. Each of N steps draws all masked values and keeps some of them:

    n_k = round(D r_k),        r_k = 1 − k/N, or cos(πk/2N),                                                     (2)

positions are masked after k steps. Positions are unmasked in random order, or by confidence: those with the largest
log x̂^i(x^i) + τ (1 − k/N) g_i with Gumbel noise g (MaskGIT). With random order and N = D, the samples are those of the
model whose bound is (1). Values drawn in one step are independent of each other, which errs the more, the fewer steps.

In texts that stop, all tokens after a known stop token are stop tokens, and none before a known other token is one.

MDLM: Subham Sahoo et al. 2024, arXiv:2406.07524. MD4: Jiaxin Shi et al. 2024, arXiv:2406.04329. D3PM with an absorbing
state: Jacob Austin et al. 2021, arXiv:2107.03006. Orders: Benigno Uria, Iain Murray and Hugo Larochelle 2014,
arXiv:1310.1757; Kaiwen Zheng et al. 2024, arXiv:2409.02908. MaskGIT: Huiwen Chang et al. 2022, arXiv:2202.04200.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, NonNegativeFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, PyTree, Variables
from genjax.diffusion.discrete import DiscreteDiffusion, Temperature
from genjax.diffusion.guidance import GuidanceWeight
from genjax.ops import categorical, checked_values, fill_after_stop, known_values, prompt_tokens

NumSteps = Annotated[int, Ge(1), Cure("; None unmasks one value a step")]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MaskedDiffusion(DiscreteDiffusion):
    """Masked diffusion of integers: texts, SMILES, grids of codes.

    Attributes:
      shape: shape of one example, without the batch axis: (T,) for texts, (H, W) for a grid.
      num_values: number of values, K ≥ 2; data are integers 0 … K − 1.
      net: network of the denoiser. Its inputs are integers 0 … K (B, *shape), where K is the mask, levels (B,), the
        share of masked positions, and with classes a one-hot label (B, num_classes + 1), whose last entry is no label.
        Its outputs are logits (B, *shape, K).
      stop_token: token that ends a text, followed by nothing but itself; None if all texts have full length.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      condition_dropout: fraction of the training examples that get the null label, in [0, 1].

    >>> from genjax import nets
    >>> net = nets.TokenTransformer(num_values=5, num_layers=1, num_heads=1, features=8, embed_level=False)
    >>> model = MaskedDiffusion(shape=(6,), num_values=5, net=net)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 6), jnp.int32)})
    >>> x = model.sample(variables, jax.random.key(1), 2, prompt=jnp.array([4, -1, 4]), num_steps=2)
    >>> x.shape, x[:, [0, 2]].tolist()
    ((2, 6), [[4, 4], [4, 4]])
    """

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes, and for texts the optional prompt of ``sample``."""
        if len(self.shape) > 1:
            return super().conditions
        settings = {"num_values": self.num_values, "optional": True, "in_batch": False}
        return (*super().conditions, Condition(name="prompt", kind="tokens", shape=(None,), **settings))

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        prompt: Array | None = None,
        num_steps: NumSteps | None = None,
        order: Literal["random", "confidence"] = "random",
        randomness: NonNegativeFloat = 4.5,
        schedule: Literal["linear", "cosine"] = "linear",
        temperature: Temperature = 1.0,
        guidance: GuidanceWeight = 1.0,
    ) -> Array:
        """Draw from the model, int32 (N, *shape).

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,); None for any class. Only for models with classes.
          prompt: known values, integers (*shape) for all samples, or (N, *shape); −1 where they are not known. For
            texts also their first tokens alone, (P,) or (N, P).
          num_steps: number of steps, each with one evaluation of the network; None for as many as there are positions,
            of which each step then unmasks one.
          order: order of unmasking, "random" or by "confidence"; the latter does not draw from the model itself.
          randomness: scale of the Gumbel noise of the confidences, τ.
          schedule: r_k of equation 2, "linear" or "cosine"; the latter unmasks few values in the first steps.
          temperature: scale of the randomness of values, above 0.
          guidance: weight of classifier-free guidance, at least 0; 1 is no guidance, 0 ignores the label.

        Raises:
          ValueError: if the prompt does not fit the shape or the values, or the model cannot apply the guidance.
        """
        log_probs = self._sampling_log_probs(variables, label, guidance, temperature)
        x = self._start(prompt, num_samples)
        order_key, key = jax.random.split(key)
        permutation = jax.random.uniform(order_key, x.shape)
        num_unknown = jnp.sum(x == self.num_values, axis=1)
        num_steps = x.shape[1] if num_steps is None else num_steps
        left = 1 - np.arange(1, num_steps + 1) / num_steps
        ratios = left if schedule == "linear" else np.sin(np.pi / 2 * left)  # cos(πk/2N)

        def step(x: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            key, left, ratio = inputs
            draw_key, noise_key = jax.random.split(key)
            is_masked = x == self.num_values
            log_prob = log_probs(x, jnp.mean(is_masked, axis=1))
            drawn = categorical(draw_key, log_prob)
            score = permutation
            if order == "confidence":
                confidence = jnp.take_along_axis(log_prob, jnp.maximum(drawn, 0)[..., None], axis=-1)[..., 0]
                score = confidence + randomness * left * jax.random.gumbel(noise_key, x.shape)
            num_left = jnp.round(num_unknown * ratio).astype(jnp.int32)  # equation 2
            num_drawn = jnp.sum(is_masked, axis=1) - num_left
            is_drawn = is_masked & (_ranks(jnp.where(is_masked, score, -jnp.inf)) < num_drawn[:, None])
            return fill_after_stop(jnp.where(is_drawn, drawn, x), self.stop_token), None

        x, _ = jax.lax.scan(step, x, (jax.random.split(key, num_steps), jnp.float32(left), jnp.float32(ratios)))
        return x.reshape(num_samples, *self.shape)

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array, **options: Any) -> Array:
        """Draw the unknown values of x (B, *shape) given the known ones, int32.

        ``mask``, bool and broadcastable to x, is True where x is known. Other arguments are those of ``sample``,
        except ``prompt``. With the defaults, each value is drawn given all that are known or drawn before it.

        Raises:
          ValueError: if x or the mask has another shape, the mask is not bool, or, outside compiled code, a known value
            is not one of 0 … num_values − 1.
        """
        x, mask = known_values(x, mask, self.shape)
        x = checked_values(x, self.shape, self.num_values)
        prompt = jnp.where(mask, x.astype(jnp.int32), -1)  # unsigned integers have no -1
        return self.sample(variables, key, x.shape[0], prompt=prompt, **options)

    def _negative_bound(
        self, log_probs: Callable[[Array, Array], tuple[Array, PyTree]], key: Array, x: Array, u: Array
    ) -> tuple[Array, PyTree]:
        """See ``DiscreteDiffusion``; estimate of equation 1 from one n and one S."""
        size = x.shape[1]
        n = 1 + jnp.minimum((u * size).astype(jnp.int32), size - 1)
        is_masked = _ranks(jax.random.uniform(key, x.shape)) < n[:, None]
        log_prob, state = log_probs(jnp.where(is_masked, self.num_values, x), n / size)
        log_prob = jnp.take_along_axis(log_prob, x[..., None], axis=-1)[..., 0]
        return -size / n * jnp.sum(jnp.where(is_masked, log_prob, 0.0), axis=1), state  # equation 1

    def _possible(self, x: Array, logits: Array) -> Array:
        """See ``DiscreteDiffusion``; for texts that stop."""
        if self.stop_token is None:
            return logits
        is_stop, is_known = x == self.stop_token, x < self.num_values
        has_stopped = jnp.cumsum(is_stop, axis=1) > 0
        goes_on = jnp.cumsum((is_known & ~has_stopped)[:, ::-1], axis=1)[:, ::-1] > 0
        stops = (jnp.arange(self.num_values) == self.stop_token)[None, None]
        return jnp.where(jnp.where(stops, goes_on[..., None], has_stopped[..., None]), -jnp.inf, logits)

    def _start(self, prompt: Array | None, num_samples: int) -> Array:
        """Return masks (N, D) but for the known values."""
        x = jnp.full((num_samples, self._size), self.num_values, jnp.int32)
        if prompt is None:
            return x
        prompt, rows = jnp.asarray(prompt), (num_samples, *self.shape)
        if len(self.shape) > 1:
            if prompt.shape not in (self.shape, rows):
                raise ValueError(f"prompt has shape {prompt.shape}, but must have shape {self.shape} or {rows}")
            prompt = prompt.reshape(-1, self._size)
        tokens = prompt_tokens(prompt, num_samples, self._size, self.num_values)
        known = jnp.where(tokens["keep"], tokens["known"], self.num_values)
        return fill_after_stop(x.at[:, : known.shape[1]].set(known), self.stop_token)


def _ranks(scores: Array) -> Array:
    """Return the number of larger scores in each row, (N, D), all different.

    >>> _ranks(jnp.array([[0.3, 0.9, 0.5]])).tolist()
    [[2, 0, 1]]
    """
    return jnp.argsort(jnp.argsort(scores, axis=1, descending=True), axis=1)
