"""The walk over the stages of an experiment, shared by training and loading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from genjax.core import TrainState, Variables
from genjax.experiment import Experiment
from genjax.runner.loop import StageLoop
from genjax.sharding import Placement


@final
class StageWalk:
    """A walk over the stages of an experiment, where each stage sees the variables of the finished ones.

    Call ``finish`` for every loop that the iterator yields before asking for the next one.
    """

    def __init__(self, experiment: Experiment, seeds: tuple[int, ...], placement: Placement) -> None:
        self.experiment, self.seeds, self.placement = experiment, seeds, placement
        self.finished: dict[str, Variables] = {}
        self.steps_before = 0

    def __iter__(self) -> Iterator[StageLoop]:
        plan = self.experiment.plan()
        for stage in plan:
            arguments = (self.experiment, stage, self.finished, self.seeds, self.placement)
            yield StageLoop(*arguments, steps_before=self.steps_before, is_last=stage is plan[-1])

    def finish(self, loop: StageLoop, state: TrainState) -> None:
        """Pass the variables of a finished stage on to the next stages."""
        self.finished[loop.stage.name] = state.variables
        self.steps_before += loop.num_steps

    def variables(self) -> Variables:
        """Return the model's variables, once all stages are finished."""
        return self.placement.readable(self.experiment.model_variables(self.finished, len(self.seeds)))

    def variables_at(self, loop: StageLoop, state: TrainState) -> Variables:
        """Return the model's variables during the last stage, from its training state."""
        finished = {**self.finished, loop.stage.name: state.variables}
        return self.placement.readable(self.experiment.model_variables(finished, len(self.seeds)))
