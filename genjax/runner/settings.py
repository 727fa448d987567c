"""Settings of training that are not arguments of the experiment: seeds, how a step is computed, and the mesh.

A run folder stores them beside these arguments, so that resuming or compiling a run needs no flags.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

from genjax.experiment import Experiment
from genjax.nets.computation import NetDtype


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What ``train`` was called with, beside the experiment and its folder.

    Attributes:
      seed: seed of everything random; replica i has seed + i.
      seeds: number of replicas.
      accumulate: number of minibatches whose gradients are averaged for each update; None for that of the experiment.
      dtype: dtype of the products of networks; None for that of the experiment.
      remat: whether networks are computed again for the gradient; None for what the experiment says.
      offload_optimizer: whether the state of the optimizer is kept in the memory of the host; None for what the
        experiment says.
      mesh: sizes of the mesh axes that were asked for, see ``genjax.sharding``; None splits batches over all devices.
    """

    seed: int = 0
    seeds: int = 1
    accumulate: int | None = None
    dtype: NetDtype | None = None
    remat: bool | None = None
    offload_optimizer: bool | None = None
    mesh: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrainSettings:
        """Return the settings in the arguments of a run folder; an older one may lack some."""
        return cls(**{field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name in stored})

    def apply(self, experiment: Experiment) -> Experiment:
        """Return an experiment whose steps are computed like this."""
        names = ("accumulate", "dtype", "remat", "offload_optimizer")
        wanted = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in wanted.items() if value not in (None, getattr(experiment, name))}
        return dataclasses.replace(experiment, **changes) if changes else experiment
