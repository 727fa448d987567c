"""Tensor parallelism: which axes of the weights of a layer are split over devices.

Of two linear maps with a function of single channels between them,

    y = W₂ ρ(W₁ x),

W₁ is split by its outputs and W₂ by its inputs, so that each device computes ρ of its own channels, and only the sum y
over devices needs communication. Attention is such a pair too: the heads stand for ρ. Mohammad Shoeybi et al. 2019,
arXiv:1909.08053, section 3.
"""

from __future__ import annotations

from collections.abc import Collection


def split_axis(path: str, outputs: Collection[str], inputs: Collection[str]) -> int | None:
    """Return the axis, counted from the end, that splits a parameter of a layer; None for a whole one.

    Args:
      path: path of the parameter, whose last two names are those of the layer and of ``kernel`` or ``bias``.
      outputs: names of the layers that are split by their outputs, W₁; their biases are split too.
      inputs: names of the layers that are split by their inputs, W₂.

    >>> [split_axis(f"net/{name}", {"up"}, {"down"}) for name in ("up/kernel", "up/bias", "down/kernel", "down/bias")]
    [-1, -1, -2, None]
    """
    layer, name = path.split("/")[-2:]
    if layer in outputs:
        return -1
    return -2 if layer in inputs and name == "kernel" else None
