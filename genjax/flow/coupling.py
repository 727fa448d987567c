"""Coupling layers: one part of the data steers a transformation of the other.

With x in two parts, kept and changed, and a network n,

    y_kept = x_kept,        y_changed = τ(x_changed; n(x_kept)),                                                  (1)

whose Jacobian matrix is triangular: log |det ∂y/∂x| = Σ log τ′ over the changed part. Both directions take one pass of
the network, whatever network it is. Laurent Dinh, David Krueger and Yoshua Bengio, 2015, arXiv:1410.8516.

Parts are the halves of the last axis, or the two colours of a checkerboard over the pixels of an image (Laurent Dinh,
Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, Variables
from genjax.flow.transformers import Transformer
from genjax.nets import apply_net, init_net
from genjax.ops import at_least_float32, check_choice, sum_except_batch


@final
@dataclass(frozen=True, kw_only=True)
class Coupling:
    """A coupling layer: equation 1.

    Attributes:
      transformer: τ.
      net: n, a Linen module with a field ``output_shape``, which this layer sets: from the kept part (B, ..., C_kept),
        and the context where there is one, to (B, ..., num_params, C_changed). It has no batch statistics.
      parts: "halves" of the last axis, the smaller one kept, or the pixels of a "checkerboard" of images (B, H, W, C).
      flip: whether the parts change their roles.
    """

    transformer: Transformer
    net: Any
    parts: Literal["halves", "checkerboard"] = "halves"
    flip: bool = False

    def __post_init__(self) -> None:
        check_choice("parts", self.parts, ("halves", "checkerboard"))
        check_template(self.net)

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``.

        Raises:
          ValueError: where x has no two parts, or the network has a state.
        """
        self._check(x)
        kept, changed = self._split(x)
        params, state = init_net(self._net_for(changed), key, kept, *given(context))
        check_stateless(self.net, state)
        return Variables(params, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        kept, changed = self._split(x)
        changed, log_derivative = self.transformer.forward(self._params(variables, kept, changed, context), changed)
        return self._join(kept, changed, log_derivative)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        kept, changed = self._split(y)
        changed, log_derivative = self.transformer.inverse(self._params(variables, kept, changed, context), changed)
        return self._join(kept, changed, log_derivative)

    def _params(self, variables: Variables, kept: Array, changed: Array, context: Array | None) -> Array:
        params, _ = apply_net(self._net_for(changed), variables.params, {}, kept, *given(context))
        return at_least_float32(params)

    def _net_for(self, changed: Array) -> nn.Module:
        return self.net.clone(output_shape=(*changed.shape[1:-1], self.transformer.num_params, changed.shape[-1]))

    def _split(self, x: Array) -> tuple[Array, Array]:
        """Return the kept and the changed part; those of a checkerboard are whole images, zero where it is not kept."""
        if self.parts == "checkerboard":
            return jnp.where(self._mask(x), x, 0.0), x
        first, second = jnp.split(x, [x.shape[-1] // 2], axis=-1)
        return (second, first) if self.flip else (first, second)

    def _join(self, kept: Array, changed: Array, log_derivative: Array) -> tuple[Array, Array]:
        if self.parts == "checkerboard":
            mask = self._mask(kept)
            return jnp.where(mask, kept, changed), sum_except_batch(jnp.where(mask, 0.0, log_derivative))
        parts = (changed, kept) if self.flip else (kept, changed)
        return jnp.concatenate(parts, axis=-1), sum_except_batch(log_derivative)

    def _mask(self, x: Array) -> np.ndarray:
        """Whether a pixel is kept, (1, H, W, 1)."""
        rows, columns = np.indices(x.shape[1:3])
        return (((rows + columns) % 2 == 0) != self.flip)[None, :, :, None]

    def _check(self, x: Array) -> None:
        if self.parts == "checkerboard" and (x.ndim != 4 or x.shape[1] * x.shape[2] < 2):
            raise ValueError(
                f"x has shape {x.shape}, but a checkerboard needs images (B, H, W, C) of two pixels or more; "
                "use parts='halves'"
            )
        if self.parts == "halves" and x.shape[-1] < 2:
            raise ValueError(
                f"x has shape {x.shape}, but a last axis of {x.shape[-1]} has no two halves; use an autoregressive "
                "flow for one dimension, and Squeeze or parts='checkerboard' for images of one channel"
            )


def given(context: Array | None) -> tuple[Array, ...]:
    """Return the context as further arguments of a network."""
    return () if context is None else (context,)


def check_template(net: Any) -> None:
    """Refuse networks whose output shape a layer cannot set."""
    if not isinstance(net, nn.Module) or not hasattr(net, "output_shape"):
        raise ValueError(f"net is {net!r}, but must be a Linen module with a field output_shape, such as nets.MLP")


def check_stateless(net: Any, state: Any) -> None:
    """Refuse networks with batch statistics and the like, which would tie examples of a batch together."""
    if jax.tree.leaves(state):
        raise ValueError(f"net has the collections {sorted(state)}, but a flow's networks have params alone: {net!r}")


def check_pairs(num_layers: int) -> None:
    """Refuse an odd number of couplings, of which one half of the data would see fewer."""
    if num_layers < 2 or num_layers % 2:
        raise ValueError(f"num_layers is {num_layers}, but couplings come in pairs; give 2, 4, …")
