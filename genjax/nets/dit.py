"""The diffusion transformer (DiT): attention between patches, modulated by the noise level and the condition.

Patches of P × P pixels become tokens h_i = W_p (patch i) + p_i, where p_i are sines and cosines of row and column. Each
layer computes six vectors linearly from the embedding e of noise level and condition (``LevelEmbedding``), and

    h ← h + g₁ ⊙ W Attention((1 + a₁) ⊙ norm h + b₁),                                                            (1)
    h ← h + g₂ ⊙ W₂ ρ(W₁ ((1 + a₂) ⊙ norm h + b₂)),                                                              (2)

where norm subtracts the mean over a token's channels and divides by their standard deviation. With a context, such as
the words of a text (``Context``), tokens attend to it between the two,

    h ← h + W_c CrossAttention(norm h).                                                                          (3)

A last linear layer maps a norm, modulated as in equation 2, to the pixels of each patch. The six vectors, W_c and the
last layer start at 0, so that every layer is initially the identity ("adaLN-Zero").

William Peebles and Saining Xie 2023, arXiv:2212.09748; equation 3: Junsong Chen et al. 2023, arXiv:2310.00426, with a
norm. As in the first paper, the inputs of the linear maps are c = ρ(e).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets.attention import Context, cross_attention, multi_head_attention
from genjax.nets.group_norm import check_divisible
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import scaled_init
from genjax.nets.tensor_parallel import split_axis
from genjax.ops import at_least_float32

MAX_PERIOD = 10_000.0


@check_arguments
class DiT(nn.Module):
    """Diffusion transformer from images (B, H, W, C) to images of the same shape.

    Attributes:
      patch_size: height and width of a patch in pixels, P, which must divide H and W.
      features: number of channels of a token; a multiple of 4, for the positions, and of the number of heads.
      num_layers: number of layers, equations 1 and 2 each; they are compiled once.
      num_heads: number of attention heads.
      mlp_ratio: number of hidden channels in equation 2, as a multiple of ``features``.
      activation: ρ of equation 2; the embedding uses SiLU.
      output_scale: factor on the initial weights of all modulations and of the last layer; with 0, as in the paper,
        outputs start at 0.
      remat: whether each layer is computed again for the gradient rather than kept: at batch 256, the eight layers of
        the recipe for Fashion-MNIST then take 2.2 instead of 15.9 GiB in float32 on a CPU, and 0.9 instead of 9.2 GiB
        in bfloat16, compiled for an H100.
      dtype: see ``nets``; norms and the embedding of the noise level are always float32 too.

    >>> net = DiT(patch_size=4, features=8, num_layers=2, num_heads=2)
    >>> x, level = jnp.zeros((2, 28, 28, 1)), jnp.zeros(2)
    >>> outputs, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), x, level, jnp.eye(2, 10))
    >>> outputs.shape
    (2, 28, 28, 1)
    """

    patch_size: PositiveInt
    features: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    mlp_ratio: PositiveFloat = 4.0
    activation: Callable[[Array], Array] = nn.gelu
    output_scale: float = 0.0
    remat: bool = False
    dtype: Any = None

    def __post_init__(self) -> None:
        check_divisible("DiT", self.features, "num_heads", self.num_heads)
        if self.features % 4:
            raise ValueError(f"DiT has {self.features} features, but needs a multiple of 4 for the positions")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Array,
        level: Array,
        condition: Array | None = None,
        context: Context | None = None,
        train: bool = False,
    ) -> Array:
        """Map x (B, H, W, C), noise levels (B,), a condition (B, K) and a context to the shape of x."""
        del train
        patches = patchify(x, self.patch_size)
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        h = dense(self.features, name="patches")(patches)
        rows, columns = x.shape[1] // self.patch_size, x.shape[2] // self.patch_size
        h = h + jnp.asarray(sincos_positions(rows, columns, self.features), h.dtype)[None]
        embedded = nn.silu(LevelEmbedding(self.features)(level, condition, context))
        broadcast: Any = nn.broadcast
        scanned: dict[str, Any] = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        layer = nn.remat(DiTLayer, prevent_cse=False) if self.remat else DiTLayer
        layers = nn.scan(layer, in_axes=broadcast, length=self.num_layers, **scanned)
        names = ("num_heads", "mlp_ratio", "activation", "output_scale", "dtype")
        h, _ = layers(**{name: getattr(self, name) for name in names}, name="layers")(h, embedded, context)
        initial = scaled_init(self.output_scale)
        gain, bias = modulations(embedded, 2 * self.features, 2, initial)
        outputs = dense(patches.shape[-1], kernel_init=initial, name="output")(modulate(h, gain, bias))
        return unpatchify(outputs, self.patch_size, x.shape)

    def tensor_axis(self, path: str) -> int | None:
        """Return the axis of a parameter that tensor parallelism splits: heads and hidden channels of layers."""
        outputs = {"query_key_value", "query", "key_value", "up"}
        return split_axis(path, outputs, inputs={"attended", "context", "down"}) if "/layers/" in path else None


class DiTLayer(nn.Module):
    """One layer, equations 1 to 3; its attributes are those of ``DiT``."""

    num_heads: int
    mlp_ratio: float
    activation: Callable[[Array], Array]
    output_scale: float
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, embedded: Array, context: Context | None = None) -> tuple[Array, None]:
        """Map tokens (B, N, F), embeddings (B, E) and a context to tokens, and None as the output of ``scan``."""
        _, num_tokens, features = h.shape
        dense = functools.partial(nn.Dense, dtype=self.dtype)
        initial = scaled_init(self.output_scale)
        a_1, b_1, g_1, a_2, b_2, g_2 = modulations(embedded, 6 * features, 6, initial)
        # Products of matrices are faster; see ``nets.linear``.
        rows = modulate(h, a_1, b_1).reshape(-1, features)
        attended = multi_head_attention(rows, num_tokens, self.num_heads, self.dtype)
        h = h + g_1.astype(h.dtype) * dense(features, name="attended")(attended).reshape(h.shape)  # equation 1
        if context is not None:
            rows = modulate(h, jnp.zeros(()), jnp.zeros(())).reshape(-1, features)
            attended = cross_attention(rows, num_tokens, context, self.num_heads, self.dtype)
            h = h + dense(features, kernel_init=initial, name="context")(attended).reshape(h.shape)  # equation 3
        rows = modulate(h, a_2, b_2).reshape(-1, features)
        inner = self.activation(dense(int(self.mlp_ratio * features), name="up")(rows))
        h = h + g_2.astype(h.dtype) * dense(features, name="down")(inner).reshape(h.shape)  # equation 2
        return h, None


def modulations(embedded: Array, features: int, parts: int, kernel_init: Callable[..., Array]) -> list[Array]:
    """Return vectors (B, 1, features / parts) linear in an embedding, inside a compact method."""
    dense = nn.Dense(features, kernel_init=kernel_init, name="modulation")
    return jnp.split(dense(embedded)[:, None], parts, axis=-1)


def modulate(h: Array, gain: Array, bias: Array) -> Array:
    """Return (1 + gain) ⊙ norm h + bias for tokens (B, N, F), in their dtype."""
    wide = at_least_float32(h)
    centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
    normalized = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-6)
    return (normalized * (1 + gain) + bias).astype(h.dtype)


def patchify(x: Array, size: int) -> Array:
    """Cut images (B, H, W, C) into patches (B, H W / size², size² C), with patches and their pixels row by row.

    >>> patchify(jnp.arange(8.0).reshape(1, 2, 4, 1), 2)[0].tolist()
    [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    if x.ndim != 4 or x.shape[1] % size or x.shape[2] % size:
        raise ValueError(
            f"images have shape {x.shape}, but patches of {size}x{size} pixels need (B, H, W, C) with H and W "
            "multiples of their size; give another patch_size, or pad the images"
        )
    batch, height, width, channels = x.shape
    cut = x.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
    return cut.reshape(batch, -1, size * size * channels)


def unpatchify(patches: Array, size: int, shape: tuple[int, ...]) -> Array:
    """Assemble patches to images of a shape; the inverse of ``patchify``."""
    batch, height, width, channels = shape
    cut = patches.reshape(batch, height // size, width // size, size, size, channels)
    return cut.swapaxes(2, 3).reshape(shape)


def sincos_positions(rows: int, columns: int, features: int) -> np.ndarray:
    """Return sines and cosines of row and column at features / 4 frequencies each, (rows columns, features).

    >>> sincos_positions(2, 2, 4).round(2).tolist()  # sine and cosine of the row, then of the column
    [[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.84, 0.54], [0.84, 0.54, 0.0, 1.0], [0.84, 0.54, 0.84, 0.54]]
    """
    frequencies = np.exp(-math.log(MAX_PERIOD) * np.arange(features // 4) / (features // 4))
    positions = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    angle = positions[:, :, None] * frequencies  # (N, 2, features / 4)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=-1).reshape(positions.shape[0], features)
