"""WaveNet: stacks of dilated causal convolutions over a sequence.

A sequence x, shifted by one position, gives h_1 = K x_{t−1}, with zeros before the start. Layer l of dilation d is

    (a, b) = W_0 h_{l,t−d} + W_1 h_{l,t} + V c_t + e,         g_{l,t} = tanh(a) σ(b),                             (1)
    h_{l+1,t} = h_{l,t} + R g_{l,t} + r,                                                                          (2)

and a perceptron maps Σ_l (S g_{l,t} + s) to the outputs. Dilations are 1, 2, 4, …, 2^{n−1} in each of m stacks, so that

    outputs at t depend on x_{t−1}, …, x_{t−r},        r = 1 + m (2^n − 1).                                       (3)

The condition c is a label, the same at all positions, or a sequence of frames, each for an equal number of positions.
Outputs are logits of few values (codes of the µ-law), or parameters of a mixture of discretized logistic distributions
over many values (16-bit samples).

During sampling, each layer keeps its last inputs in a ring buffer of d + 1 slots. Slot t mod (d + 1) takes h_{l,t}, and
the next one holds the oldest, h_{l,t−d}. With d slots, the oldest would have to be read before it is overwritten, and
XLA would copy the buffer at each step. A position costs one product with each matrix, whatever r is (Tom Le Paine et
al. 2016, arXiv:1611.09482).

Aäron van den Oord, Sander Dieleman, Heiga Zen, Karen Simonyan, Oriol Vinyals, Alex Graves, Nal Kalchbrenner, Andrew
Senior and Koray Kavukcuoglu, 2016, arXiv:1609.03499. Here the first convolution has one tap instead of two, and frames
are repeated, without a learned upsampling; the mixture is that of Aäron van den Oord et al. 2017, arXiv:1711.10433.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import DropoutRate, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.causal import CausalModel, EmbeddingDim, LocalDim
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import gated_tanh, linear
from genjax.nets.causal_conv import shifted
from genjax.ops import Categorical, LogisticMixture


@check_arguments
def wavenet(
    *,
    shape: Sizes,
    num_values: Annotated[int, Ge(2)] = 256,
    num_components: PositiveInt | None = None,
    num_layers: PositiveInt = 10,
    num_stacks: PositiveInt = 1,
    features: PositiveInt = 32,
    skip_features: PositiveInt = 64,
    dropout: DropoutRate = 0.0,
    num_classes: NumClasses | None = None,
    local_dim: LocalDim | None = None,
    embedding_dim: EmbeddingDim | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a WaveNet (Aäron van den Oord et al. 2016, arXiv:1609.03499).

    Variables do not depend on the length: ``dataclasses.replace(model, shape=(16_000,))`` scores and draws longer
    sequences with parameters learned from short ones.

    Use many values for likelihoods. A mixture scores a value at a cost that does not depend on their number, but
    sampling computes all their probabilities: with 10 components, 65,536 values take 3.5 ms a sample on two cores, 256
    values 0.03 ms. For fast sampling, use the 256 values of the µ-law.

    Args:
      shape: length of the sequences, (T,); it should exceed ``model.net.receptive_field``.
      num_values: number of values, L: 256 for 8-bit µ-law, 65,536 for 16-bit samples.
      num_components: number of components of a mixture of discretized logistic distributions, which suits many values
        and has scales of at least e^−7 of half the range; None for a probability of each value.
      num_layers: number of layers of each stack, n, with dilations 1, 2, 4, …, 2^(n − 1).
      num_stacks: number of stacks, m.
      features: number of channels of h and g.
      skip_features: number of channels of the sum over layers.
      dropout: share of the channels of g that training drops, in [0, 1).
      num_classes: see ``CausalModel``.
      local_dim: see ``CausalModel``.
      embedding_dim: see ``CausalModel``.
      dtype: dtype of the computation; None follows the input.

    >>> model = wavenet(shape=(8,), num_layers=3, features=4, skip_features=4, num_values=16)
    >>> model.net.receptive_field, model.net.dilations
    (8, (1, 2, 4))
    >>> import jax
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 8), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 8)
    """
    distribution = Categorical(num_values) if num_components is None else LogisticMixture(num_values, num_components)
    return CausalModel(
        shape=shape,
        net=WaveNetNet(distribution.num_outputs(1), num_layers, num_stacks, features, skip_features, dropout, dtype),
        distribution=distribution,
        num_classes=num_classes,
        local_dim=local_dim,
        embedding_dim=embedding_dim,
    )


@check_arguments
class WaveNetNet(nn.Module):
    """The network of WaveNet, equations 1 to 3; see ``CausalNet``.

    ``num_outputs`` is the number of outputs of a position, P. Other attributes: see ``wavenet``.
    """

    num_axes = 1
    num_outputs: PositiveInt
    num_layers: PositiveInt
    num_stacks: PositiveInt
    features: PositiveInt
    skip_features: PositiveInt
    dropout: DropoutRate = 0.0
    dtype: Any = None

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilations of all layers, from first to last."""
        return tuple(2**i for _ in range(self.num_stacks) for i in range(self.num_layers))

    @property
    def receptive_field(self) -> int:
        """Number of preceding positions that an output depends on, r."""
        return 1 + sum(self.dilations)

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map positions (B, T, D) to outputs (B, T, P); ``condition`` is (B, K) or (B, F, K)."""
        h, skip = nn.Dense(self.features, dtype=self.dtype, name="first")(shifted(x, axis=1)), 0.0
        for i, dilation in enumerate(self.dilations):
            residual = self.features if i < len(self.dilations) - 1 else 0
            sizes = (dilation, self.features, residual, self.skip_features)
            h, layer_skip = _Layer(*sizes, self.dropout, self.dtype, name=f"layer_{i}")(h, condition, train)
            skip = skip + layer_skip
        hidden = nn.relu(nn.Dense(self.skip_features, dtype=self.dtype, name="head")(nn.relu(skip)))
        return nn.Dense(self.num_outputs, dtype=self.dtype, name="outputs")(hidden)

    def decoder(
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        layers = [params[f"layer_{i}"] for i in range(len(self.dilations))]
        frames = None  # V c of all layers, (F, B, num_layers, 2 features)
        if condition is not None:
            products = [linear(layer["condition"], _frames(condition)) for layer in layers]
            frames = jnp.stack(products, axis=2).swapaxes(0, 1)
        empty = _Cache(
            index=jnp.int32(0),
            rings=[jnp.zeros((d + 1, batch_size, self.features), jnp.float32) for d in self.dilations],
        )

        def step(cache: _Cache, last: Array) -> tuple[Array, _Cache]:
            t, rings, skip = cache.index, [], 0.0
            h = linear(params["first"], jnp.where(t > 0, last, 0.0))  # nothing precedes the first
            c = None if frames is None else frames[t // (size[0] // frames.shape[0])]
            for i, (layer, old) in enumerate(zip(layers, cache.rings, strict=True)):
                slots = old.shape[0]
                ring = jax.lax.dynamic_update_index_in_dim(old, h, t % slots, axis=0)
                oldest = jax.lax.dynamic_index_in_dim(ring, (t + 1) % slots, axis=0, keepdims=False)
                taps = jnp.concatenate([oldest, h], axis=-1)
                both = linear(layer["taps"], taps)
                gated = gated_tanh(both if c is None else both + c[:, i])
                rings.append(ring)
                outputs = linear(layer["outputs"], gated)
                skip = skip + outputs[:, -self.skip_features :]
                if i < len(layers) - 1:
                    h = h + outputs[:, : self.features]
            hidden = nn.relu(linear(params["head"], nn.relu(skip)))
            return linear(params["outputs"], hidden), _Cache(t + 1, rings)

        return empty, step


class _Cache(NamedTuple):
    """The next position, and the ring buffer of each layer's last inputs, (d + 1, B, features)."""

    index: Array
    rings: list[Array]


class _Layer(nn.Module):
    """Equations 1 and 2: one layer, which returns h and its term of the sum over layers."""

    dilation: int
    features: int
    residual_features: int  # 0 in the last layer
    skip_features: int
    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, condition: Array | None, train: bool) -> tuple[Array, Array]:
        # One product, because convolutions are slow on CPUs.
        taps = jnp.concatenate([shifted(h, axis=1, lag=self.dilation), h], axis=-1)
        both = nn.Dense(2 * self.features, dtype=self.dtype, name="taps")(taps)
        if condition is not None:
            frames = _frames(condition)
            c = nn.Dense(2 * self.features, use_bias=False, dtype=self.dtype, name="condition")(frames)[:, :, None]
            both = (both.reshape(h.shape[0], frames.shape[1], -1, 2 * self.features) + c).reshape(both.shape)
        gated = nn.Dropout(self.dropout, deterministic=not train)(gated_tanh(both))
        outputs = nn.Dense(self.residual_features + self.skip_features, dtype=self.dtype, name="outputs")(gated)
        residual, skip = jnp.split(outputs, [self.residual_features], axis=-1)
        return h + residual if self.residual_features else h, skip


def _frames(condition: Array) -> Array:
    """Return conditions (B, F, K); a condition (B, K) is one frame."""
    return condition if condition.ndim == 3 else condition[:, None]
