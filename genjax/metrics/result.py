"""Results: a metric's value, its error, and the protocol needed to compare it with another.

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
import shutil
import statistics
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from genjax.arguments import PositiveInt, check_arguments

FID_NETWORK = "inception-v3"


@final
@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one metric.

    Attributes:
      name: name of the metric.
      value: value of the metric; None if it is unavailable.
      standard_error: standard error of the value over samples; None if unknown.
      replicas: values of the replicas of a run with several seeds; ``value`` is their mean.
      protocol: what a comparison must hold fixed: counts, split, feature network and hash, units, guarantee, settings.
      reason: why the value is unavailable.
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
        """Name as in papers: a Fréchet distance is an FID only on the published Inception weights."""
        features = self.protocol.get("features")
        acronyms = {"frechet_distance": ("FID", "FD"), "kernel_distance": ("KID", "KD")}.get(self.name)
        if acronyms is None or features is None:
            return self.name
        return f"{self.name} ({acronyms[0] if features == FID_NETWORK else f'{acronyms[1]}-{features}'})"

    def as_dict(self) -> dict[str, Any]:
        """Return entries for JSON, without those that are None; a number that is not finite becomes None."""
        entries: dict[str, Any] = {"value": _finite(self.value)}
        optional = {"standard_error": _finite(self.standard_error), "sd": self.sd, "reason": self.reason}
        entries |= {name: value for name, value in optional.items() if value is not None}
        if self.replicas:
            entries["replicas"] = list(self.replicas)
        return entries | dict(self.protocol)


def unavailable(name: str, reason: str, **protocol: Any) -> Result:
    """Return a result without a value, for a metric that the model or the data does not support."""
    return Result(name=name, value=None, reason=reason, protocol=protocol)


def results_of(values: Mapping[str, Any], protocols: Mapping[str, Mapping[str, Any]]) -> list[Result]:
    """Return a result for each name in ``protocols``; the value ``NAME_standard_error``, if any, is its error.

    >>> results_of({"auroc": 0.75, "auroc_standard_error": 0.25}, {"auroc": {}})[0].standard_error
    0.25
    """
    results = []
    for name, protocol in protocols.items():
        error = values.get(f"{name}_standard_error")
        standard_error = None if error is None else float(error)
        results.append(Result(name=name, value=float(values[name]), standard_error=standard_error, protocol=protocol))
    return results


def mean_over_replicas(results: Sequence[Result]) -> Result:
    """Return the mean of one metric over the replicas of a run, which differ in their seed alone.

    Standard errors over samples are averaged; ``sd`` is the spread over seeds, which they leave out.
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


@check_arguments
def table(results: Sequence[Result], *, width: PositiveInt | None = None) -> str:
    """Format results as a text table, one line each, with their protocols.

    With a ``width``, lines have at most so many characters, at least 60, and protocols stand below the numbers.

    >>> print(table([Result(name="mmd2", value=0.5, protocol={"split": "test"})], width=60))
    metric                       value        ± se  ± sd (seeds)
    mmd2                        0.5000           -             -
        split test
    """
    label_width = max([34, *(len(result.label) for result in results)])
    if width is not None:
        label_width = min(label_width, max(60, width) - len(_numbers("", "", "")))
    head = f"{'metric':<{label_width}}{_numbers('value', '± se', '± sd (seeds)')}"
    lines = [head if width is not None else f"{head}  protocol"]
    for result in results:
        numbers = _numbers(_number(result.value, "n/a"), _number(result.standard_error), _number(result.sd))
        text = result.reason or ", ".join(f"{k.replace('_', ' ')} {_entry(v)}" for k, v in result.protocol.items())
        if width is None:
            lines.append(f"{result.label:<{label_width}}{numbers}  {text}")
        else:
            *above, label = textwrap.wrap(result.label, label_width)
            indent = " " * 4
            below = textwrap.wrap(text, max(60, width), initial_indent=indent, subsequent_indent=indent)
            lines += [*above, f"{label:<{label_width}}{numbers}", *below]
    return "\n".join(lines)


def terminal_width() -> int | None:
    """Return the width of the terminal in characters, or None where the output is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _numbers(value: str, standard_error: str, sd: str) -> str:
    return f"{value:>16}{standard_error:>12}{sd:>14}"


def _entry(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_entry, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None, absent: str = "-") -> str:
    if value is None or math.isnan(value):
        return absent
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.4e}"
    return f"{value:.4f}"
