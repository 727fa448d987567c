"""The check of a model's settings that every family repeats."""

from __future__ import annotations


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
