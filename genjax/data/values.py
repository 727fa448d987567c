"""What is known of the values of data: their range, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Values:
    """Values of the entries of ``x``.

    Attributes:
      low: lowest value.
      high: highest value.
      levels: number of values, evenly spaced from ``low`` to ``high``; None for any values between them.

    >>> print(Values(0, 255, 256), "or", Values(-1.0, 1.0))
    256 values from 0 to 255 or numbers from -1 to 1
    """

    low: float
    high: float
    levels: int | None = None

    def __str__(self) -> str:
        kind = "numbers" if self.levels is None else f"{self.levels} values"
        return f"{kind} from {self.low:g} to {self.high:g}"

    def within(self, low: float, high: float) -> bool:
        """Return whether all values are in [low, high], but for rounding."""
        slack = 1e-4 * (high - low)
        return low - slack <= self.low and self.high <= high + slack

    def are_whole(self) -> bool:
        """Return whether the values can be whole numbers."""
        return self.levels is None or self.high - self.low == self.levels - 1
