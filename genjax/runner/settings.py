"""Settings of training that are not arguments of the experiment: seeds, minibatches of an update, and the mesh.

A run folder stores them beside these arguments, so that resuming or compiling a run needs no flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

from genjax.experiment import Experiment


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``train`` was called with, beside the experiment and its folder.

    Attributes:
      seed: seed of everything random; replica i has seed + i.
      seeds: number of replicas.
      accumulate: number of minibatches whose gradients are averaged for each update; None for that of the experiment.
      mesh: sizes of the mesh axes that were asked for, see ``genjax.sharding``; None splits batches over all devices.
    """

    seed: int = 0
    seeds: int = 1
    accumulate: int | None = None
    mesh: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Settings:
        """Return the settings in the arguments of a run folder; an older one may lack some."""
        return cls(**{field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name in stored})

    def apply(self, experiment: Experiment) -> Experiment:
        """Return an experiment with these minibatches."""
        if self.accumulate in (None, experiment.accumulate):
            return experiment
        return dataclasses.replace(experiment, accumulate=self.accumulate)
