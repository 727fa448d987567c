"""Base class of estimators: training by the runner, hidden units as features, and samples.

A subclass defines the training on given rows in ``_experiment``. The runner trains the model, and the other methods use
it with its variables. Rows are examples of N numbers, (B, N).
"""

from __future__ import annotations

import functools
import math
from abc import ABCMeta, abstractmethod
from typing import Any, Self, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from numpy.random import RandomState
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from genjax import boltzmann
from genjax.core import Array, Variables
from genjax.experiment import Experiment
from genjax.ops import check_at_least, check_positive
from genjax.runner import train
from genjax.runner.folder import ExperimentSource

MAX_STEPS_PER_DISPATCH = 1_000  # so that long epochs show progress and can be stopped


class Epochs(TypedDict):
    """Arguments of ``Experiment`` for a number of epochs."""

    batch_size: int
    steps: int
    log_every: int


class DensityTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator, metaclass=ABCMeta
):
    """An estimator whose model has a density, hidden units and samples.

    The attributes without a trailing underscore are arguments of the constructors of its subclasses, which document
    them.

    Attributes:
      n_features_in_: number of columns of the training rows, N.
      model_: the genjax model.
      variables_: its trained variables.
    """

    batch_size: int
    n_iter: int
    verbose: bool | int
    random_state: int | RandomState | None
    units: boltzmann.Units | None
    negative_phase: boltzmann.NegativePhase | None
    n_particles: int
    n_temperatures: int
    n_features_in_: int
    model_: Any
    variables_: Variables
    _seed: int

    @abstractmethod
    def _experiment(self, X: np.ndarray) -> Experiment:
        """Describe the training on rows, (B, N); raise ValueError for invalid settings or rows."""

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of each row, nats, (B,)."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows.

        Args:
          X: rows, (B, N), at least one for each device.
          y: ignored.

        Returns:
          The estimator itself.

        Raises:
          ValueError: if settings or rows are invalid; before anything compiles.
          NonFiniteError: if training diverges.
        """
        del y
        X = validate_data(self, X, ensure_min_samples=jax.device_count())
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

    def sample(
        self, n_samples: int = 1, *, n_steps: int = 1_000, random_state: int | RandomState | None = None
    ) -> np.ndarray:
        """Draw rows from the model by Gibbs sampling.

        Args:
          n_samples: number of rows, at least 1, each the end of its own chain.
          n_steps: number of Gibbs steps, at least 1; separate modes take many.
          random_state: seed of the draw; an int makes it reproducible, None does not.

        Returns:
          Rows, (n_samples, N).
        """
        check_is_fitted(self)
        check_at_least("n_samples", n_samples, 1)
        check_at_least("n_steps", n_steps, 1)
        key = jax.random.key(check_random_state(random_state).randint(2**31 - 1))
        return np.asarray(_sample(self.model_, self.variables_, key, n_samples, n_steps))

    def _key(self) -> Array:
        """Return the key of estimates, the same at every call, so that a likelihood is one number."""
        check_is_fitted(self)
        return jax.random.key(self._seed)

    def _check_annealing(self) -> None:
        check_at_least("n_particles", self.n_particles, 2, "; one particle gives no interval")
        check_at_least("n_temperatures", self.n_temperatures, 1)

    def _check_rates(self, *names: str) -> None:
        for name in names:
            check_positive(name, getattr(self, name), "; 0.1 is usual")

    def _units(self) -> boltzmann.Units:
        _check_instance("units", self.units, "boltzmann.GaussianUnits()")
        return boltzmann.BinaryUnits() if self.units is None else self.units

    def _negative_phase(self) -> boltzmann.NegativePhase:
        _check_instance("negative_phase", self.negative_phase, "boltzmann.Persistent()")
        return boltzmann.Persistent() if self.negative_phase is None else self.negative_phase

    def _rows(self, X: Any) -> Array:
        """Return rows as an array, after checking that the estimator is fitted and that their columns match."""
        check_is_fitted(self)
        return jnp.asarray(validate_data(self, X, reset=False))

    def _epochs(self, num_rows: int) -> Epochs:
        """Return the arguments of an experiment of ``n_iter`` epochs."""
        check_at_least("n_iter", self.n_iter, 1)
        check_at_least("batch_size", self.batch_size, 1)
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


def _check_instance(name: str, value: object, example: str) -> None:
    """Raise if a value is a class or a name, where an object is expected."""
    if isinstance(value, str | type):
        raise ValueError(f"{name} is {value!r}, but must be an object; pass {example}, for example, or None")


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _sample(model: Any, variables: Variables, key: Array, num_samples: int, num_steps: int) -> Array:
    return model.sample(variables, key, num_samples, num_steps=num_steps)
