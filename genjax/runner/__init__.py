"""Training of experiments and their run folders: the part of the library that reads and writes files.

>>> from genjax.runner import load_run, train
"""

from genjax.evaluation.samples import SampleScore as SampleScore
from genjax.evaluation.samples import frechet_score as frechet_score
from genjax.evaluation.samples import modes_score as modes_score
from genjax.experiment import Experiment as Experiment
from genjax.runner.checkpoints import CheckpointError as CheckpointError
from genjax.runner.load import load_experiment_fn as load_experiment_fn
from genjax.runner.load import load_run as load_run
from genjax.runner.loop import Interrupted as Interrupted
from genjax.runner.loop import NonFiniteError as NonFiniteError
from genjax.runner.run import Run as Run
from genjax.runner.train import train as train
