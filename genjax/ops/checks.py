"""The checks of a model's settings that every family repeats."""

from __future__ import annotations

from collections.abc import Sequence


def check_at_least(name: str, value: float, limit: float, cure: str = "") -> None:
    """Refuse a value below its limit, and NaN.

    Args:
      name: what the caller calls it.
      value: what it is.
      limit: the least that works.
      cure: what else to do, as the end of the sentence.

    Raises:
      ValueError: with all of them.

    >>> check_at_least("latent_dim", 0, 1)
    Traceback (most recent call last):
    ValueError: latent_dim is 0, but must be at least 1
    """
    if not value >= limit:
        raise ValueError(f"{name} is {value}, but must be at least {limit}{cure}")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
      ValueError: with all of them.

    >>> check_choice("conditioning", "sum", ("projection", "concatenation"))
    Traceback (most recent call last):
    ValueError: conditioning is 'sum', but must be 'projection' or 'concatenation'
    """
    if value not in choices:
        *most, last = map(repr, choices)
        raise ValueError(f"{name} is {value!r}, but must be {', '.join(most)} or {last}")


def check_num_classes(num_classes: int | None) -> None:
    """Refuse fewer than one class; None is an unconditional model."""
    if num_classes is not None:
        check_at_least("num_classes", num_classes, 1, "; use None for an unconditional model")


def check_data_axes(shape: Sequence[int]) -> None:
    """Refuse a batch of data whose examples have no axis."""
    if len(shape) < 2:
        raise ValueError(f"x has shape {tuple(shape)}, but needs a batch axis and data axes; reshape it to (B, C)")


def check_dropout(dropout: float) -> None:
    """Refuse a share of channels to leave out that is not in [0, 1)."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}, but must be in [0, 1); 0 leaves nothing out")


def check_shape(shape: Sequence[int]) -> None:
    """Refuse a shape of one example that has no sizes, or one below 1."""
    if not shape or min(shape) < 1:
        raise ValueError(f"shape is {shape}, but every size must be at least 1; give (D,) for vectors")
