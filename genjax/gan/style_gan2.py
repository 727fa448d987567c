"""StyleGAN2: a generator whose layers are controlled by styles, with a latent space for editing.

A mapping network f turns noise z ~ N(0, I) into a style w, and a synthesis network g turns one style for each of its L
layers, and noise n for each pixel, into an image,

    w = f(z),        x = g(w_1, …, w_L, n).                                                                       (1)

All layers share one w, except that in training, with probability p, the styles from a random layer on come from a
second w: then neighboring layers cannot rely on each other (style mixing). The mean style is averaged over training,
and truncation moves styles towards it,

    w̄ ← β w̄ + (1 − β) E w,        w ← w̄ + ψ (w − w̄),                                                             (2)

so that samples with small ψ are more typical and less varied. Both players play the game of ``genjax.gan.gan``; at
every n-th step the generator also minimizes n times a penalty on the lengths of the gradient of random projections y of
the image, which makes steps in w change the image by equal amounts in all directions and everywhere,

    γ E_{w, y} (‖∇_w ⟨g(w), y⟩‖ − a)²,        y ~ N(0, I / (H W)),        a ← a + η (E ‖∇_w ⟨g(w), y⟩‖ − a),      (3)

where the squared norm is the mean over layers of that of ∇_{w_l}. With classes y the mapping network is f(z, y).

To edit an image, ``encode`` finds the style whose image is nearest to it,

    argmin over w of ‖g(w, 0) − x‖².                                                                              (4)

Tero Karras, Samuli Laine, Miika Aittala, Janne Hellsten, Jaakko Lehtinen and Timo Aila 2020, arXiv:1912.04958;
equation 3 is their equation 4. Mixing and truncation: Karras, Laine and Aila 2019, arXiv:1812.04948. Difference from
the paper: (4) compares pixels, not features of a network that was trained on photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from annotated_types import Interval

from genjax.arguments import Cure, Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, Batch, Metrics, PyTree, Variables
from genjax.gan.game import AdversarialGame
from genjax.gan.penalties import safe_sqrt
from genjax.nets import Net, NetSpec, apply_part, output_shape
from genjax.ops import at_least_float32, condition_inputs, label_of, squared_gradient_norms, sum_except_batch
from genjax.ops.labels import Label

Truncation = Annotated[float, Interval(ge=0, le=1), Cure("; 0.7 is usual, and 1 turns it off")]


@runtime_checkable
class Synthesis(Net, Protocol):
    """A network from styles (B, num_styles, D) and noise (B, num_noise) to images (B, H, W, C)."""

    @property
    def num_styles(self) -> int:
        """L, at least 1."""
        ...

    @property
    def num_noise(self) -> int:
        """Number of noise values of an example."""
        ...


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class PathLength:
    """Penalty of equation 3.

    Attributes:
      weight: γ.
      every: n, at least 1.
      decay: η, in [0, 1].
      shrink: number that the batch size is divided by for the penalty, because it costs much time and memory.
    """

    weight: NonNegativeFloat = 2.0
    every: PositiveInt = 4
    decay: Fraction = 0.01
    shrink: PositiveInt = 2


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class StyleGAN2(AdversarialGame):
    """Style-based generative adversarial network (Karras et al. 2020, arXiv:1912.04958).

    Beside that of its networks, the state has ``style_mean``, w̄ (D,), and ``path_length``, a ().

    Attributes:
      latent_dim: length of the noise vector z.
      mapping: network from noise (B, latent_dim) to styles (B, D), such as ``MappingNetwork``; with classes, the
        one-hot label is its second argument.
      synthesis: network from styles and noise to images, such as ``SynthesisNetwork``.
      mixing_probability: p, probability of two styles in an image, in training only.
      mean_decay: β, decay of the mean style for each generator step.
      path_length: penalty of the generator; None for none.
      discriminator, adversarial_loss, penalties, pack, augment, num_classes, auxiliary_weight: see ``GAN``. The paper
        has ``penalties=(R1(weight=γ, every=16),)``, with γ proportional to the number of pixels.

    >>> from genjax import gan
    >>> model = StyleGAN2(
    ...     latent_dim=4,
    ...     mapping=gan.MappingNetwork(8, num_layers=2),
    ...     synthesis=gan.SynthesisNetwork((8, 8), output_shape=(8, 8, 1)),
    ...     discriminator=gan.StyleDiscriminator((8, 8)),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 8, 8, 1))})
    >>> model.sample(variables, jax.random.key(1), 3, truncation=0.7).shape
    (3, 8, 8, 1)
    """

    latent_dim: PositiveInt
    mapping: Net
    synthesis: Synthesis
    mixing_probability: Fraction = 0.9
    mean_decay: Fraction = 0.995
    path_length: PathLength | None = field(default_factory=PathLength)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for images (B, H, W, C); for errors see ``init_parts``."""
        x, label = batch["x"], label_of(batch, self.num_classes)
        rows, num_styles = x.shape[0], self.synthesis.num_styles
        noise = (jnp.zeros((rows, self.latent_dim)), *condition_inputs(label, self.num_classes, rows))
        style = output_shape(self.mapping, key, *noise)
        if len(style) != 2:
            raise ValueError(f"mapping returned shape {style}, but styles need ({rows}, D): give it vectors as outputs")
        inputs = (jnp.zeros((rows, num_styles, style[1])), jnp.zeros((rows, self.synthesis.num_noise)))
        parts = {
            "mapping": NetSpec(self.mapping, noise, style, "the style"),
            "synthesis": NetSpec(self.synthesis, inputs, x.shape, "matching x"),
        }
        params, state = self._init(key, x, label, parts)
        return Variables(params, state | {"style_mean": jnp.zeros(style[1]), "path_length": jnp.zeros(())})

    def generator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the generator's loss, its new state, and metrics.

        Beside those of ``GAN``, metrics are ``path_length``, a, and ``path_length_penalty``, which is 0 at steps
        without it.
        """
        game_key, path_key = jax.random.split(key)
        loss, (state, metrics) = super().generator_loss(params, state, game_key, batch, step)
        path_length = self.path_length
        if path_length is None:
            return loss, (state, metrics)
        label, (size, *shape) = label_of(batch, self.num_classes), batch["x"].shape
        count = max(1, size // path_length.shrink)

        def due() -> tuple[Array, Array]:
            rows = None if label is None else label[:count]
            return self._path_length_penalty(path_length, Variables(params, state), path_key, (count, *shape), rows)

        is_due = step % path_length.every == 0
        penalty, mean = jax.lax.cond(is_due, due, lambda: (jnp.zeros(()), state["path_length"]))
        metrics = metrics | {"path_length": mean, "path_length_penalty": penalty}
        return loss + penalty, (state | {"path_length": mean}, metrics)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Label = None,
        truncation: Truncation = 1.0,
    ) -> Array:
        """Draw images, (num_samples, H, W, C); ``truncation`` is ψ of equation 2, in [0, 1]."""
        latent_key, noise_key = jax.random.split(key)
        latent = jax.random.normal(latent_key, (num_samples, self.latent_dim))
        styles = self.styles(variables, latent, label=label, truncation=truncation)
        return self._synthesize(variables, styles, self._noise(noise_key, num_samples))[0]

    def styles(
        self, variables: Variables, latent: Array, *, label: Label = None, truncation: Truncation = 1.0
    ) -> Array:
        """Return the styles w of noise z (B, latent_dim), (B, D), truncated by ψ (equation 2)."""
        w, _ = self._map(variables, latent, label)
        mean = variables.state["style_mean"][None]
        return mean + truncation * (w - mean)

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Label = None) -> Array:
        """Draw styles without truncation, (N, D)."""
        latent = jax.random.normal(key, (num_samples, self.latent_dim))
        return self.styles(variables, latent, label=label)

    def decode(self, variables: Variables, latent: Array, *, label: Label = None) -> Array:
        """Return the images of styles, without noise, (B, H, W, C).

        ``latent`` is one style for all layers, (B, D), or one for each, (B, num_styles, D), which mixes styles: coarse
        layers come first. Labels only change the mapping from noise to styles, so ``label`` has no effect here.
        """
        del label
        return self._synthesize(variables, latent, None)[0]

    def encode(
        self,
        variables: Variables,
        x: Array,
        *,
        label: Label = None,
        num_steps: PositiveInt = 500,
        learning_rate: PositiveFloat = 0.1,
    ) -> Array:
        """Return the styles (B, D) whose images are nearest to x (B, H, W, C), equation 4.

        Adam takes ``num_steps`` steps from the mean style, with a learning rate that decays to 0 along a cosine; styles
        have entries of about 1. ``label`` has no effect.
        """
        del label
        mean = variables.state["style_mean"]
        start = jnp.broadcast_to(mean[None], (x.shape[0], *mean.shape))
        optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

        def loss(styles: Array) -> Array:
            return jnp.sum(jnp.square(self.decode(variables, styles) - x)) / math.prod(x.shape[1:])

        def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], None]:
            styles, state = carry
            updates, state = optimizer.update(jax.grad(loss)(styles), state)
            return (optax.apply_updates(styles, updates), state), None  # type: ignore[return-value]

        (styles, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=num_steps)
        return styles

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Label = None) -> Array:
        """Return the images of ``encode``, (B, H, W, C)."""
        del key
        return self.decode(variables, self.encode(variables, x, label=label))

    @property
    def _generator_parts(self) -> tuple[str, ...]:
        return ("mapping", "synthesis")

    def _noise(self, key: Array, num_samples: int) -> Array:
        return jax.random.normal(key, (num_samples, self.synthesis.num_noise))

    def _map(
        self, variables: Variables, latent: Array, label: Label, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        """Return the styles of noise z (B, latent_dim), (B, D), and the mapping's new state."""
        arguments = (latent, *condition_inputs(label, self.num_classes, latent.shape[0]))
        w, state = apply_part(self, "mapping", variables, *arguments, key=key, train=train)
        return at_least_float32(w), state

    def _synthesize(
        self,
        variables: Variables,
        styles: Array,
        noise: Array | None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return the images of styles, (B, D) or (B, L, D), and the new state of the synthesis network."""
        if styles.ndim == 2:
            styles = jnp.broadcast_to(styles[:, None], (styles.shape[0], self.synthesis.num_styles, styles.shape[1]))
        arguments = (styles,) if noise is None else (styles, noise)
        x, state = apply_part(self, "synthesis", variables, *arguments, key=key, train=train)
        return at_least_float32(x), state

    def _samples(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, dict[str, PyTree]]:
        style_key, noise_key, dropout_key = jax.random.split(key, 3)
        styles, states = self._mixed_styles(variables, style_key, num_samples, label, train)
        noise = self._noise(noise_key, num_samples)
        x, synthesis_state = self._synthesize(variables, styles, noise, dropout_key, train)
        return x, states | {"synthesis": synthesis_state}

    def _mixed_styles(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, dict[str, PyTree]]:
        """Return the styles of samples, (N, L, D), with a second one mixed in in training, and the new states."""
        latent_key, dropout_key, chance_key, layer_key = jax.random.split(key, 4)
        draws = 2 if train and self.mixing_probability > 0 else 1
        latent = jax.random.normal(latent_key, (draws * num_samples, self.latent_dim))
        labels = None if label is None else jnp.concatenate([label] * draws)
        w, state = self._map(variables, latent, labels, dropout_key, train)
        first, *second = jnp.split(w[:, None], draws)
        layers = self.synthesis.num_styles
        styles = jnp.broadcast_to(first, (num_samples, layers, w.shape[-1]))
        states = {"mapping": state}
        if train:
            mean, new = variables.state["style_mean"], jax.lax.stop_gradient(jnp.mean(first, axis=(0, 1)))
            states["style_mean"] = self.mean_decay * mean + (1 - self.mean_decay) * new  # equation 2
        if second:
            mixes = jax.random.bernoulli(chance_key, self.mixing_probability, (num_samples,))
            start = jax.random.randint(layer_key, (num_samples,), 1, max(2, layers))
            is_second = mixes[:, None] & (jnp.arange(layers)[None] >= start[:, None])
            styles = jnp.where(is_second[..., None], second[0], styles)
        return styles, states

    def _path_length_penalty(
        self, path_length: PathLength, variables: Variables, key: Array, shape: tuple[int, ...], label: Array | None
    ) -> tuple[Array, Array]:
        """Return ``every`` times the penalty of equation 3 for samples of this shape, (N, H, W, C), and the new a."""
        style_key, noise_key, projection_key = jax.random.split(key, 3)
        styles, _ = self._mixed_styles(variables, style_key, shape[0], label, train=True)
        noise = self._noise(noise_key, shape[0])
        y = jax.random.normal(projection_key, shape) / math.sqrt(math.prod(shape[1:3]))

        def projected(styles: Array) -> Array:
            x, _ = self._synthesize(variables, styles, noise)
            return sum_except_batch(x * y)

        lengths = safe_sqrt(squared_gradient_norms(projected, styles) / styles.shape[1])
        old = variables.state["path_length"]
        mean = old + path_length.decay * (jax.lax.stop_gradient(jnp.mean(lengths)) - old)
        penalty = path_length.weight * jnp.mean(jnp.square(lengths - mean))  # equation 3
        return path_length.every * penalty, mean
