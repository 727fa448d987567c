"""Mode coverage on a known distribution: captured modes, sample quality, and balance between modes.

With K modes, a sample is of *high quality* if it lies within three standard deviations of the nearest mode, and a mode
is *captured* if at least one high-quality sample is nearest to it (25 Gaussians and ring: Srivastava, Valkov, Russell,
Gutmann & Sutton 2017, arXiv:1705.07761). With p̂ₖ the fraction of high-quality samples nearest to mode k,

    KL(p̂ ‖ uniform) = Σₖ p̂ₖ log(K p̂ₖ)   in nats, 0 … log K,                                                   (1)

which is about (K − 1)/(2N) for N samples of the distribution itself.

Stacked MNIST has 1,000 modes, the combinations of digits in three channels, recognized by a classifier (Che, Li, Jacob,
Bengio & Li 2017, arXiv:1612.02136; 26,000 samples in Metz, Poole, Pfau & Sohl-Dickstein 2017, arXiv:1611.02163). There
every sample counts, whatever its quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.features.network import FeatureNetwork, as_numbers
from genjax.metrics.metric import Values


class ModesState(flax.struct.PyTreeNode):
    """Number of samples counted for each mode, int32 of shape (K,), and number of all samples, int32."""

    counts: Array
    total: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GaussianModes:
    """Coverage of Gaussian modes with known centres.

    Attributes:
      modes: centres of the modes, K points of D coordinates.
      scale: standard deviation of each mode, above 0.
      radius: largest distance of a high-quality sample from its mode, in standard deviations, above 0.

    >>> metric = GaussianModes(modes=((0.0,), (10.0,)), scale=1.0)
    >>> values = metric.compute(metric.update(metric.init(), jnp.array([[0.1], [2.0], [5.0], [-1.0]])))
    >>> {name: round(float(value), 4) for name, value in values.items()}
    {'modes_captured': 1.0, 'kl_to_uniform': 0.6931, 'high_quality_share': 0.75}
    """

    modes: Sequence[Sequence[float]] | Array | np.ndarray
    scale: PositiveFloat
    radius: PositiveFloat = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "modes", tuple(tuple(map(float, mode)) for mode in self.modes))  # hashable
        if not self.modes or len({len(mode) for mode in self.modes}) != 1:
            raise ValueError(f"modes are {self.modes}, but must be one or more points of equal dimension")

    def init(self) -> ModesState:
        """Return an empty state."""
        return ModesState(jnp.zeros(len(self.modes), jnp.int32), jnp.zeros((), jnp.int32))

    def update(self, state: ModesState, x: Array) -> ModesState:
        """Add samples, shape (B, D)."""
        if x.shape[1:] != (len(self.modes[0]),):
            raise ValueError(
                f"samples have shape {x.shape}, but the modes are points of {len(self.modes[0])} coordinates"
            )
        # Differences rather than norms, whose rounding errors would exceed the width of narrow modes far from zero.
        offset = x.astype(jnp.float32)[:, None] - jnp.asarray(self.modes)[None]
        squared = jnp.sum(jnp.square(offset), axis=-1)
        near = jnp.min(squared, axis=1) <= (self.radius * self.scale) ** 2
        counts = state.counts.at[jnp.argmin(squared, axis=1)].add(near.astype(jnp.int32))
        return ModesState(counts, state.total + x.shape[0])

    def merge(self, a: ModesState, b: ModesState) -> ModesState:
        """Combine two states."""
        return jax.tree.map(jnp.add, a, b)

    def compute(self, state: ModesState) -> Values:
        """Return ``modes_captured``, ``high_quality_share`` and ``kl_to_uniform``; NaN if no sample was counted."""
        return _coverage(state) | {"high_quality_share": jnp.sum(state.counts) / state.total}


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class StackedModes:
    """Coverage of the combinations of classes over several channels, 1,000 for stacked MNIST.

    Attributes:
      num_classes: number of classes of each channel.
      num_channels: number of channels, each a separate image.
    """

    num_classes: PositiveInt = 10
    num_channels: PositiveInt = 3

    def init(self) -> ModesState:
        """Return an empty state."""
        return ModesState(jnp.zeros(self.num_classes**self.num_channels, jnp.int32), jnp.zeros((), jnp.int32))

    def update(self, state: ModesState, labels: Array) -> ModesState:
        """Add predicted classes, integers of shape (B, num_channels); see ``channel_classes``."""
        if labels.shape[1:] != (self.num_channels,):
            raise ValueError(f"labels have shape {labels.shape}, but must be (samples, {self.num_channels})")
        mode = labels @ (self.num_classes ** np.arange(self.num_channels)[::-1])
        return ModesState(state.counts.at[mode].add(1), state.total + labels.shape[0])

    def merge(self, a: ModesState, b: ModesState) -> ModesState:
        """Combine two states."""
        return jax.tree.map(jnp.add, a, b)

    def compute(self, state: ModesState) -> Values:
        """Return ``modes_captured`` and ``kl_to_uniform``; NaN without samples."""
        return _coverage(state)


@check_arguments
def channel_classes(network: FeatureNetwork, images: Array) -> Array:
    """Return the class of each channel of images (B, H, W, C), see ``extract``, as int32 of shape (B, C).

    The network takes images of one channel; one without logits raises ValueError.
    """
    channels = jnp.moveaxis(as_numbers(images, network.levels), -1, 1).reshape(-1, *images.shape[1:3], 1)
    logits = network.apply(network.variables, channels).logits
    if logits is None:
        raise ValueError(f"{network.name} has no logits; use a classifier of single channels")
    return jnp.argmax(logits, axis=-1).reshape(images.shape[0], images.shape[-1])


def _coverage(state: ModesState) -> dict[str, Array]:
    share = state.counts / jnp.sum(state.counts)
    divergence = jnp.sum(jax.scipy.special.xlogy(share, share * state.counts.size))  # equation 1
    return {"modes_captured": jnp.sum(state.counts > 0), "kl_to_uniform": divergence}
