"""Base class of estimators: training by the runner, hidden units as features, and samples.

A subclass defines the training on given rows in ``_experiment``. The runner trains the model, and the other methods use
it with its variables. Rows are examples of N numbers, (B, N).
"""

from __future__ import annotations

import functools
import math
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt
from numpy.random import RandomState
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from genjax import boltzmann
from genjax.arguments import Cure, PositiveInt, check_arguments, check_settings
from genjax.compilation import jit
from genjax.core import Array, Variables
from genjax.experiment import Experiment
from genjax.ops.importance import NumParticles
from genjax.runner import train
from genjax.runner.folder import ExperimentSource

MAX_STEPS_PER_DISPATCH = 1_000  # so that long epochs show progress and can be stopped

Rate = Annotated[float, Gt(0), Cure("; 0.1 is usual")]


class Epochs(TypedDict):
    """Arguments of ``Experiment`` for a number of epochs."""

    batch_size: int
    steps: int
    log_every: int


@dataclass(eq=False, repr=False, kw_only=True)  # scikit-learn has its own repr, and compares by identity
class DensityTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator, metaclass=ABCMeta
):
    """An estimator whose model has a density, hidden units and samples.

    Args:
      units: kind of the visible units: ``boltzmann.BinaryUnits()`` for 0 and 1, ``boltzmann.GaussianUnits()`` for
        standardized real numbers, ``boltzmann.SoftmaxUnits(K)`` for integers 0 to K − 1. None is binary.
      learning_rate: learning rate, above 0; Gaussian units need 0.01 or less.
      batch_size: number of rows in a minibatch, at least 1; rounded so that all devices share it evenly.
      n_iter: number of epochs, at least 1; each visits all rows in a new order.
      negative_phase: rule that draws samples of the model while it learns, such as
        ``boltzmann.ContrastiveDivergence(1)``. None is ``boltzmann.Persistent()``.
      n_particles: number of particles of annealed importance sampling, at least 2.
      n_temperatures: number of temperatures of annealed importance sampling, at least 1; the error falls as it grows.
      verbose: whether to show progress on stderr.
      random_state: seed of training; an int makes it reproducible, None does not.

    Attributes:
      n_features_in_: number of columns of the training rows, N.
      model_: the genjax model.
      variables_: its trained variables.
    """

    units: Annotated[boltzmann.Units, Cure("; pass boltzmann.GaussianUnits(), for example")] | None = None
    learning_rate: Rate = 0.1
    batch_size: PositiveInt = 10
    n_iter: PositiveInt = 10
    negative_phase: Annotated[boltzmann.NegativePhase, Cure("; pass boltzmann.Persistent(), for example")] | None = None
    n_particles: NumParticles = 100
    n_temperatures: PositiveInt = 10_000
    verbose: bool | int = False
    random_state: int | RandomState | None = None
    n_features_in_: int = field(init=False)
    model_: Any = field(init=False)
    variables_: Variables = field(init=False)
    _seed: int = field(init=False)

    @abstractmethod
    def _experiment(self, X: np.ndarray) -> Experiment:
        """Describe the training on rows, (B, N); raise ValueError for invalid settings or rows."""

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of each row, nats, (B,)."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows, (B, N), at least one for each device, and return the estimator; y is ignored.

        Raises:
          ValueError: if settings or rows are invalid; before anything compiles.
          NonFiniteError: if training diverges.
        """
        del y
        X = validate_data(self, X, ensure_min_samples=jax.device_count())
        self._check_settings()
        experiment = self._experiment(X)
        seed, self._seed = check_random_state(self.random_state).randint(2**31 - 1, size=2).tolist()
        run = train(
            experiment, seed=seed, progress=bool(self.verbose), source=ExperimentSource(name=type(self).__name__)
        )
        self.model_ = run.model
        self.variables_ = jax.device_put(run.variables, jax.local_devices()[0])  # one replica is enough
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the means of the hidden units in [0, 1], (B, n_components), for rows, (B, N)."""
        rows = self._rows(X)
        return np.asarray(self.model_.encode(self.variables_, rows))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of ``score_samples``, the score that ``GridSearchCV`` and ``cross_val_score`` maximize."""
        del y
        return float(np.mean(self.score_samples(X)))

    @check_arguments
    def sample(
        self, n_samples: PositiveInt = 1, *, n_steps: PositiveInt = 1_000, random_state: int | RandomState | None = None
    ) -> np.ndarray:
        """Draw rows from the model, (n_samples, N), each by ``n_steps`` Gibbs steps of its own chain.

        Separate modes take many steps. An int as ``random_state`` makes the draw reproducible, None does not.
        """
        check_is_fitted(self)
        key = jax.random.key(check_random_state(random_state).randint(2**31 - 1))
        return np.asarray(_sample(self.model_, self.variables_, key, n_samples, n_steps))

    def _key(self) -> Array:
        """Return the key of estimates, the same at every call, so that a likelihood is one number."""
        check_is_fitted(self)
        return jax.random.key(self._seed)

    def _check_settings(self) -> None:
        """Raise for settings that their annotations rule out; scikit-learn leaves this to the time of their use."""
        check_settings(type(self), self.get_params(deep=False), f"{type(self).__name__}: ")

    def _units_and_phase(self) -> dict[str, Any]:
        """Return the arguments of a model that are objects."""
        return {
            "units": boltzmann.BinaryUnits() if self.units is None else self.units,
            "negative_phase": boltzmann.Persistent() if self.negative_phase is None else self.negative_phase,
        }

    def _rows(self, X: Any) -> Array:
        """Return rows as an array, after checking that the estimator is fitted and that their columns match."""
        check_is_fitted(self)
        return jnp.asarray(validate_data(self, X, reset=False))

    def _epochs(self, num_rows: int) -> Epochs:
        """Return the arguments of an experiment of ``n_iter`` epochs."""
        # At most all rows, and a multiple of the number of devices, which share a minibatch evenly.
        devices = jax.device_count()
        batch_size = max(min(self.batch_size, num_rows) // devices, 1) * devices
        epoch = math.ceil(num_rows / batch_size)
        return Epochs(batch_size=batch_size, steps=self.n_iter * epoch, log_every=min(epoch, MAX_STEPS_PER_DISPATCH))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float32"]  # the dtype that models compute in
        return tags


@functools.partial(jit, static_argnums=(0, 3, 4))
def _sample(model: Any, variables: Variables, key: Array, num_samples: int, num_steps: int) -> Array:
    return model.sample(variables, key, num_samples, num_steps=num_steps)
