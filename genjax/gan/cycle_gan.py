"""CycleGAN: image translation between two domains, learned without pairs.

Given images x of one domain and y of another, in no correspondence, generators G: y → x and F: x → y are trained
together with a discriminator of each domain,

    discriminators   L_D(D_x(x), D_x(x̃)) + L_D(D_y(y), D_y(ỹ)),                                                 (1)
    generators       L_G(D_x(x), D_x(G(y))) + L_G(D_y(y), D_y(F(x)))
                     + λ (E |x − G(F(x))| + E |y − F(G(y))|) + μ (E |x − G(x)| + E |y − F(y)|),                   (2)

with losses of ``genjax.gan.losses``, whose means run over examples and patches; |·| is the mean over pixels and
channels. The terms with λ ask that a translation can be undone, which excludes that all y become the same few x. The
terms with μ ask that images of the right domain stay as they are, which keeps colors. Neither says which x belongs to
which y: any one-to-one map between domains has a cycle error of 0, and a generator may also hide in its output, as
noise of low amplitude, what the other needs to undo it (Casey Chu, Andrey Zhmoginov and Mark Sandler 2017,
arXiv:1712.02950).

Discriminators see translations x̃, ỹ from a pool of N past ones. Each new translation fills a free place of the pool
and is returned; once the pool is full, with probability ½ it takes the place of a random image, which is returned in
its stead, and otherwise it is returned itself:                                                                  (3)

discriminators then remember what generators did before (Ashish Shrivastava et al. 2017, arXiv:1612.07828).

Jun-Yan Zhu, Taesung Park, Phillip Isola and Alexei Efros 2017, arXiv:1703.10593, with the pool of their code. Networks
see images in [−1, 1], where λ = 10 and μ = 5 are usual. One difference: targets of ``LeastSquares`` are −1, 1 and, for
generators, 0, in place of 0, 1 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, NonNegativeInt, PositiveInt, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.diagnosis import gan_diagnosis
from genjax.gan.losses import AdversarialLoss, LeastSquares
from genjax.gan.translation import (
    center,
    centered_pair,
    check_channels,
    check_source,
    discriminate_both,
    discriminator_spec,
    half_size,
    source_condition,
    uncenter,
    with_state,
)
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import at_least_float32, check_choice

DIRECTIONS = {"y_to_x": "generator_x", "x_to_y": "generator_y"}


class ImagePool(NamedTuple):
    """Past translations.

    Attributes:
      images: images (N, ...); zeros in free places, which are the last ones.
      count: number of images, int32 scalar.
    """

    images: Array
    count: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class CycleGAN:
    """Translation between images x and y without pairs (Zhu et al. 2017, arXiv:1703.10593).

    Batches have images ``"x"`` and ``"y"`` in [0, 1], (B, H, W, C) each, in any order. All networks work in [-1, 1].
    Dropout of generators, if there is any, is on whenever they are applied.

    Attributes:
      generator_x: network G from y to x.
      generator_y: network F from x to y.
      discriminator_x: network D_x from x to outputs (B, ..., 1), one for each patch.
      discriminator_y: network D_y from y to outputs (B, ..., 1).
      adversarial_loss: losses L_D and L_G.
      cycle_weight: λ, at least 0; 10 in the paper.
      identity_weight: μ, at least 0; needs x and y of equal shapes unless it is 0.
      pool_size: N, number of past translations of each domain that ``state`` keeps; 0 for none.
      source_channels: number of channels of y.

    >>> from genjax import gan
    >>> networks = {f"generator_{name}": gan.TranslationResNet((4, 4), num_blocks=0) for name in "xy"}
    >>> networks |= {f"discriminator_{name}": gan.PatchDiscriminator((4,)) for name in "xy"}
    >>> model = CycleGAN(**networks, pool_size=4)
    >>> x = jnp.full((2, 8, 8, 3), 0.5)
    >>> variables = model.init(jax.random.key(0), {"x": x, "y": x})
    >>> model.translate(variables, jax.random.key(1), x, direction="x_to_y").shape
    (2, 8, 8, 3)
    """

    generator_x: Net
    generator_y: Net
    discriminator_x: Net
    discriminator_y: Net
    adversarial_loss: AdversarialLoss = field(default_factory=LeastSquares)
    cycle_weight: NonNegativeFloat = 10.0
    identity_weight: NonNegativeFloat = 5.0
    pool_size: NonNegativeInt = 50
    source_channels: PositiveInt = 3

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The image y that ``sample`` translates."""
        return source_condition(self.source_channels, paired=False)

    @property
    def directions(self) -> tuple[str, ...]:
        """Both."""
        return tuple(DIRECTIONS)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables; for errors about networks see ``init_parts``.

        Raises:
          ValueError: if y is missing, x and y are integers, y has other channels than ``source_channels``, or x and y
            differ in shape and ``identity_weight`` is not 0.
        """
        x, y = centered_pair(self, batch)
        check_channels(self, y)
        if self.identity_weight > 0 and x.shape != y.shape:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}, but identity_weight={self.identity_weight} compares each with "
                "its own translation; use identity_weight=0"
            )
        parts = {
            "generator_x": NetSpec(self.generator_x, (y,), x.shape, "matching x"),
            "generator_y": NetSpec(self.generator_y, (x,), y.shape, "matching y"),
            "discriminator_x": discriminator_spec(self.discriminator_x, key, x),
            "discriminator_y": discriminator_spec(self.discriminator_y, key, y),
        }
        variables = init_parts(key, parts)
        if self.pool_size == 0:
            return variables
        return with_state(variables, {"pool_x": self._empty_pool(x), "pool_y": self._empty_pool(y)})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of discriminators (1) and generators (2), in this order."""
        parts = {name: (f"{name}_x", f"{name}_y") for name in ("discriminator", "generator")}
        return (
            Objective(name="discriminators", wrt=parts["discriminator"], loss=self.discriminators_loss),
            Objective(name="generators", wrt=parts["generator"], loss=self.generators_loss),
        )

    def discriminators_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the discriminators' loss (1), their new state with the new pools (3), and metrics.

        Metrics are ``divergence_x`` and ``divergence_y``, see ``AdversarialLoss``.
        """
        del step
        variables, (x, y) = Variables(params, state), centered_pair(self, batch)
        keys = iter(jax.random.split(key, 6))
        loss, metrics, new_state = jnp.float32(0), {}, dict(state)
        for domain, real, source in (("x", x, y), ("y", y, x)):
            fake, _ = self._generate(variables, f"generator_{domain}", next(keys), source)
            pool_key = next(keys)
            if self.pool_size > 0:
                new_state[f"pool_{domain}"], fake = exchange(state[f"pool_{domain}"], pool_key, fake)
            name = f"discriminator_{domain}"
            of_real, of_fake, new_state[name] = discriminate_both(self, name, variables, next(keys), (real,), (fake,))
            adversarial = self.adversarial_loss.discriminator(of_real, of_fake)
            metrics[f"divergence_{domain}"] = self.adversarial_loss.divergence(adversarial)
            loss = loss + adversarial  # equation 1
        return loss, (new_state, metrics)

    def generators_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the generators' loss (2), their new state, and metrics.

        Metrics are ``adversarial``, ``cycle`` and, with an ``identity_weight``, ``identity``: the terms of (2) without
        their weights, the latter two as mean absolute errors of images in [-1, 1], summed over both domains.
        """
        del step
        variables, (x, y) = Variables(params, state), centered_pair(self, batch)
        keys = iter(jax.random.split(key, 8))
        metrics, new_state = {"adversarial": jnp.float32(0), "cycle": jnp.float32(0)}, dict(state)
        for (domain, real), (other, source) in ((("x", x), ("y", y)), (("y", y), ("x", x))):
            forward, backward = f"generator_{domain}", f"generator_{other}"
            fake, new_state[forward] = self._generate(variables, forward, next(keys), source)
            metrics["adversarial"] += self._adversarial(variables, domain, next(keys), real, fake)
            back, _ = self._generate(variables, backward, next(keys), fake)
            metrics["cycle"] += jnp.mean(jnp.abs(source - back))
        loss = metrics["adversarial"] + self.cycle_weight * metrics["cycle"]  # equation 2
        if self.identity_weight > 0:
            same_x, _ = self._generate(variables, "generator_x", next(keys), x)
            same_y, _ = self._generate(variables, "generator_y", next(keys), y)
            metrics["identity"] = jnp.mean(jnp.abs(x - same_x)) + jnp.mean(jnp.abs(y - same_y))
            loss = loss + self.identity_weight * metrics["identity"]
        return loss, (new_state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, y: Array | None = None) -> Array:
        """Translate each y (num_samples, H, W, C) to an x (num_samples, H, W, C)."""
        return self.translate(variables, key, check_source(self, y, num_samples))

    def translate(self, variables: Variables, key: Array, x: Array, *, direction: str = "y_to_x") -> Array:
        """Translate images, the argument ``x``, in a direction, "y_to_x" or "x_to_y"; ``key`` draws dropout."""
        check_choice("direction", direction, self.directions)
        if direction == "y_to_x":
            check_channels(self, x)
        return uncenter(self._generate(variables, DIRECTIONS[direction], key, center(x))[0])

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Return ``coverage``, ``discriminator_std`` and ``generator_gradient`` of the direction where each is lower.

        See ``genjax.gan.diagnosis``.
        """
        x, y = centered_pair(self, batch)
        half = half_size(x)
        diagnoses = []
        for domain, data, source in (("x", x, y), ("y", y, x)):
            generator_key, discriminator_key, key = jax.random.split(key, 3)
            reference, real = data[:half], data[half : 2 * half]
            fake, _ = self._generate(variables, f"generator_{domain}", generator_key, source[half : 2 * half])

            def objective(
                fake: Array, name: str = f"discriminator_{domain}", key: Array = discriminator_key, real: Array = real
            ) -> tuple[Array, Array]:
                outputs = discriminate_both(self, name, variables, key, (real,), (fake,))
                return self.adversarial_loss.generator(*outputs[:2]), jnp.concatenate(outputs[:2])

            diagnoses.append(gan_diagnosis(objective, reference, real, fake))
        return jax.tree.map(jnp.minimum, *diagnoses)

    def _empty_pool(self, images: Array) -> ImagePool:
        return ImagePool(jnp.zeros((self.pool_size, *images.shape[1:]), jnp.float32), jnp.int32(0))

    def _generate(self, variables: Variables, name: str, key: Array, images: Array) -> tuple[Array, PyTree]:
        """Return translations of images, both in [-1, 1], and the generator's new state."""
        outputs, state = apply_part(self, name, variables, images, key=key, train=True)
        return at_least_float32(outputs), state

    def _adversarial(self, variables: Variables, domain: str, key: Array, real: Array, fake: Array) -> Array:
        of_real, of_fake, _ = discriminate_both(self, f"discriminator_{domain}", variables, key, (real,), (fake,))
        return self.adversarial_loss.generator(of_real, of_fake)


def exchange(pool: ImagePool, key: Array, images: Array) -> tuple[ImagePool, Array]:
    """Put images (B, ...) into a pool, one after the other, and return the new pool and images (B, ...), equation 3.

    >>> pool = ImagePool(jnp.zeros((2, 1)), jnp.int32(0))
    >>> pool, images = exchange(pool, jax.random.key(0), jnp.array([[1.0], [2.0]]))
    >>> pool.images.tolist(), int(pool.count), images.tolist()
    ([[1.0], [2.0]], 2, [[1.0], [2.0]])
    """
    size, num_images = pool.images.shape[0], images.shape[0]
    swap_key, place_key = jax.random.split(key)
    swaps = jax.random.bernoulli(swap_key, 0.5, (num_images,))
    places = jax.random.randint(place_key, (num_images,), 0, size)

    def put(pool: ImagePool, inputs: tuple[Array, Array, Array]) -> tuple[ImagePool, Array]:
        image, swap, place = inputs
        is_full = pool.count == size
        place = jnp.where(is_full, place, pool.count)
        old = pool.images[place]
        kept = pool.images.at[place].set(jnp.where(is_full & ~swap, old, image))
        return ImagePool(kept, jnp.minimum(pool.count + 1, size)), jnp.where(is_full & swap, old, image)

    pool, returned = jax.lax.scan(put, pool, (images.astype(pool.images.dtype), swaps, places))
    return pool, returned.astype(images.dtype)
