"""A number with all that it takes to compare it with another: what was measured, on what, by which network.

>>> result = Result(
...     name="frechet_distance",
...     value=3.25,
...     protocol={"features": "pixels", "reference": "360 of test", "generated": 360, "guarantee": "estimate"},
... )
>>> print(table([result, unavailable("log_prob", "this model has no log_prob")]))
metric                                       value        ± se  ± sd (seeds)  protocol
frechet_distance (FD-pixels)                3.2500           -             -  features pixels, reference 360 of test, \
generated 360, guarantee estimate
log_prob                                       n/a           -             -  this model has no log_prob
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

GENUINE_INCEPTION = "inception-v3"


@final
@dataclass(frozen=True, kw_only=True)
class Result:
    """One number.

    Attributes:
      name: of the metric.
      value: None where it cannot be had.
      standard_error: of the value, over samples; None where it is not known.
      replicas: the value of each replica of a run of several seeds, whose mean ``value`` is.
      protocol: what one must know to compare it: counts, split, feature network and hash, units, guarantee, settings.
      reason: why there is no value.
    """

    name: str
    value: float | None
    standard_error: float | None = None
    replicas: tuple[float, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def sd(self) -> float | None:
        """Standard deviation over replicas."""
        return statistics.stdev(self.replicas) if len(self.replicas) > 1 else None

    @property
    def label(self) -> str:
        """The name as papers know it: a Fréchet distance is an FID only with the weights that FID is defined by."""
        features = self.protocol.get("features")
        known = {"frechet_distance": ("FID", "FD"), "kernel_distance": ("KID", "KD")}.get(self.name)
        if known is None or features is None:
            return self.name
        return f"{self.name} ({known[0] if features == GENUINE_INCEPTION else f'{known[1]}-{features}'})"

    def as_dict(self) -> dict[str, Any]:
        """Return what is known, for JSON; a number that is not finite becomes None."""
        said: dict[str, Any] = {"value": _finite(self.value)}
        optional = {"standard_error": _finite(self.standard_error), "sd": self.sd, "reason": self.reason}
        said |= {name: value for name, value in optional.items() if value is not None}
        if self.replicas:
            said["replicas"] = list(self.replicas)
        return said | dict(self.protocol)


def unavailable(name: str, reason: str, **protocol: Any) -> Result:
    """Return the honest answer for a metric that this model, or these data, cannot have."""
    return Result(name=name, value=None, reason=reason, protocol=protocol)


def over_replicas(results: Sequence[Result]) -> Result:
    """Return the mean of one metric over replicas of a run, which share all but their seed.

    Standard errors over the samples are averaged; what they leave out, the seeds, is in ``sd``.
    """
    values = [result.value for result in results if result.value is not None]
    if len(results) == 1 or not values:
        return results[0]
    errors = [result.standard_error for result in results if result.standard_error is not None]
    return replace(
        results[0],
        value=statistics.fmean(values),
        standard_error=statistics.fmean(errors) if errors else None,
        replicas=tuple(values),
    )


def table(results: Sequence[Result]) -> str:
    """Return results as lines of text, the protocol of each beside it."""
    width = max([34, *(len(result.label) for result in results)])
    lines = [f"{'metric':<{width}}{'value':>16}{'± se':>12}{'± sd (seeds)':>14}  protocol"]
    for result in results:
        numbers = f"{_shown(result.value, 'n/a'):>16}{_shown(result.standard_error):>12}{_shown(result.sd):>14}"
        said = result.reason or ", ".join(f"{k.replace('_', ' ')} {_said(v)}" for k, v in result.protocol.items())
        lines.append(f"{result.label:<{width}}{numbers}  {said}")
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_said, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _shown(value: float | None, absent: str = "-") -> str:
    if value is None or math.isnan(value):
        return absent
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.4e}"
    return f"{value:.4f}"
