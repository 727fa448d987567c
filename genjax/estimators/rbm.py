"""The restricted Boltzmann machine as a scikit-learn estimator; its mathematics is in ``genjax.boltzmann.rbm``."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self, final

import jax.numpy as jnp
import numpy as np
import optax
from numpy.random import RandomState
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from genjax import boltzmann, data
from genjax.estimators.base import DensityTransformer
from genjax.experiment import Experiment
from genjax.ops import check_at_least

FEW_EFFECTIVE = 10  # particles, below which the interval of log Z is not to be trusted


class Estimate(NamedTuple):
    """A number with the ends of its 99 % interval, all three equal where it is exact."""

    value: float
    low: float
    high: float


@final
class RBM(DensityTransformer):
    """Restricted Boltzmann machine, fitted by stochastic gradient descent on the likelihood.

    It stands where ``sklearn.neural_network.BernoulliRBM`` does and takes its settings, but ``score_samples`` returns
    log-likelihoods, not pseudo-likelihoods.

    Args:
      n_components: H, number of hidden units, at least 1.
      units: kind of the visible units: ``boltzmann.Binary()`` for 0 and 1, ``boltzmann.Gaussian()`` for standardized
        real numbers, ``boltzmann.Softmax(K)`` for integers 0 to K − 1. None is binary.
      learning_rate: of stochastic gradient descent, above 0; Gaussian units take 0.01 or less.
      batch_size: rows in a minibatch, at least 1; rounded so that all devices share it evenly.
      n_iter: epochs, at least 1, each a walk through all rows in a new order.
      negative_phase: where the samples come from that it unlearns, such as ``boltzmann.ContrastiveDivergence(1)``.
        None is ``boltzmann.Persistent()``.
      centred: whether units have offsets, with which a data set and its negative are learned equally well.
      sparsity: what the mean of each hidden unit over a minibatch is drawn to, in (0, 1); None for no such loss.
      sparsity_weight: of the squared difference from it, at least 0.
      weight_decay: of half the squared weights, at least 0.
      n_particles: of annealed importance sampling, at least 2; see ``log_partition``.
      n_temperatures: likewise, at least 1; the error falls with their number.
      verbose: whether to show progress on stderr.
      random_state: None fits differently each time; an int fits the same each time.

    Attributes:
      n_features_in_: N, columns of the rows it was fitted on.
      model_: the ``boltzmann.RBM``, of shape (N,).
      variables_: its variables, as training left them.
      components_: weights, (H, N), or (H, N K) for softmax units of K values.
      intercept_hidden_: biases of the hidden units, (H,).
      intercept_visible_: biases of the visible units, (N,), or (N K,) for softmax units of K values.

    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> machine = RBM(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> machine.transform(X).shape, machine.sample(3).shape
    ((100, 2), (3, 4))
    >>> bool(-1.5 < machine.score(X) < -np.log(2))  # the best there is; fair coins have four times as much
    True
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        units: boltzmann.Units | None = None,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        negative_phase: boltzmann.NegativePhase | None = None,
        centred: bool = True,
        sparsity: float | None = None,
        sparsity_weight: float = 0.1,
        weight_decay: float = 0.0,
        n_particles: int = 100,
        n_temperatures: int = 10_000,
        verbose: bool | int = False,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.units = units
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.negative_phase = negative_phase
        self.centred = centred
        self.sparsity = sparsity
        self.sparsity_weight = sparsity_weight
        self.weight_decay = weight_decay
        self.n_particles = n_particles
        self.n_temperatures = n_temperatures
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows.

        Args:
          X: (B, N), with at least one row for each device; see ``units`` for their values.
          y: ignored.

        Returns:
          Itself.

        Raises:
          ValueError: before anything compiles, for settings or rows that cannot be.
          NonFiniteError: when training diverges.
        """
        super().fit(X, y)
        layers = self.model_.layers(self.variables_)
        self.components_ = np.asarray(layers.weights).T
        self.intercept_hidden_ = np.asarray(layers.hidden_bias)
        self.intercept_visible_ = np.asarray(layers.visible_bias)
        self._log_partitions: dict[tuple[int, int], Estimate] = {}
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of each row, nats, (B,), for rows (B, N).

        It is exact or an estimate as ``log_partition`` is, whose error all rows share. Not the pseudo-likelihood, which
        ``BernoulliRBM.score_samples`` returns.
        """
        rows = self._rows(X)
        return -np.asarray(self.model_.free_energy(self.variables_, rows)) - self.log_partition().value

    def log_partition(self) -> Estimate:
        """Return log Z, nats, which is computed once for a fitted machine.

        Exact where all states of the smaller layer can be added up (``model_.tractable``). Else it is estimated by
        annealed importance sampling, which may take minutes, and errs to too low a log Z, hence too high likelihoods,
        when ``n_temperatures`` are too few. These and ``n_particles`` may be set anew after fitting.

        Warns:
          ConvergenceWarning: where the estimate rests on few particles.
        """
        check_is_fitted(self)
        setting = (self.n_particles, self.n_temperatures)
        if setting not in self._log_partitions:
            self._log_partitions[setting] = self._compute_log_partition()
        return self._log_partitions[setting]

    def _compute_log_partition(self) -> Estimate:
        if self.model_.tractable:
            value = float(boltzmann.log_partition(self.model_.layers(self.variables_)))
            return Estimate(value, value, value)
        self._check_annealing()
        found = self.model_.log_partition_estimate(
            self.variables_, self._key(), self.n_particles, num_temperatures=self.n_temperatures
        )
        if found.num_effective < FEW_EFFECTIVE:
            warnings.warn(
                f"log Z rests on {found.num_effective:.1f} effective of {self.n_particles} particles, but "
                f"{FEW_EFFECTIVE} are the least to trust; raise n_temperatures={self.n_temperatures} or n_particles",
                ConvergenceWarning,
                stacklevel=3,
            )
        return Estimate(float(found.value), float(found.low), float(found.high))

    @property
    def _n_features_out(self) -> int:  # scikit-learn names columns by it
        return self.model_.num_hidden

    def _experiment(self, X: np.ndarray) -> Experiment:
        """See ``DensityTransformer``."""
        check_at_least("n_components", self.n_components, 1)
        self._check_annealing()
        self._check_rates("learning_rate")
        model = boltzmann.RBM(
            shape=X.shape[1:],
            num_hidden=self.n_components,
            units=self._units(),
            negative_phase=self._negative_phase(),
            centred=self.centred,
            sparsity=self.sparsity,
            sparsity_weight=self.sparsity_weight,
            weight_decay=self.weight_decay,
        )
        model.units.encode(jnp.asarray(X), model.shape)  # compiled training no longer sees what units cannot be
        return Experiment(
            model=model,
            data=data.arrays(X, name="X"),
            optimizer=optax.sgd(self.learning_rate),
            **self._epochs(len(X)),
        )
