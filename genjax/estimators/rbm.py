"""The restricted Boltzmann machine as a scikit-learn estimator; see ``genjax.boltzmann.rbm`` for its mathematics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, final

import jax.numpy as jnp
import numpy as np
import optax
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from genjax import boltzmann, data
from genjax.arguments import NonNegativeFloat, PositiveInt
from genjax.boltzmann.rbm import Sparsity
from genjax.estimators.base import DensityTransformer
from genjax.experiment import Experiment

MIN_EFFECTIVE_SAMPLE_SIZE = 10  # below this, the interval of log Z is unreliable


class Estimate(NamedTuple):
    """A number with its 99 % interval.

    Attributes:
      value: the estimate.
      low: lower end of the interval, equal to ``value`` if that is exact.
      high: upper end of the interval, equal to ``value`` if that is exact.
    """

    value: float
    low: float
    high: float


@final
@dataclass(eq=False, repr=False, kw_only=True)
class RBM(DensityTransformer):
    """Restricted Boltzmann machine, trained by stochastic gradient descent on the likelihood (Smolensky 1986).

    It can replace ``sklearn.neural_network.BernoulliRBM`` and accepts the same settings, but ``score_samples`` returns
    log-likelihoods, not pseudo-likelihoods. Other arguments and attributes: see ``DensityTransformer``.

    Args:
      n_components: number of hidden units, H, at least 1.
      centred: whether units have offsets, so that a data set and its negative are learned equally well.
      sparsity: target for the mean of each hidden unit over a minibatch, in (0, 1); None for no such penalty.
      sparsity_weight: weight of the squared distance to that target, at least 0.
      weight_decay: weight of ½ Σ W², at least 0.

    Attributes:
      model_: the ``boltzmann.RBM``, of shape (N,).
      components_: weights, (H, N), or (H, N K) for softmax units with K values.
      intercept_hidden_: biases of the hidden units, (H,).
      intercept_visible_: biases of the visible units, (N,), or (N K,) for softmax units with K values.

    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> rbm = RBM(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> rbm.transform(X).shape, rbm.sample(3).shape
    ((100, 2), (3, 4))
    >>> bool(-1.5 < rbm.score(X) < -np.log(2))  # the optimum is -log 2; independent fair bits have -4 log 2
    True
    """

    n_components: PositiveInt = field(default=256, kw_only=False)
    centred: bool = True
    sparsity: Sparsity | None = None
    sparsity_weight: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows, (B, N), with values of the ``units``; see ``DensityTransformer.fit``."""
        super().fit(X, y)
        params = self.model_.rbm_params(self.variables_)
        self.components_ = np.asarray(params.weights).T
        self.intercept_hidden_ = np.asarray(params.hidden_bias)
        self.intercept_visible_ = np.asarray(params.visible_bias)
        self._log_partitions: dict[tuple[int, int], Estimate] = {}
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the log-likelihood of each row, nats, (B,), for rows, (B, N).

        It is exact if ``log_partition`` is; otherwise, all rows share the error of log Z. This is not the
        pseudo-likelihood that ``BernoulliRBM.score_samples`` returns.
        """
        rows = self._rows(X)
        return -np.asarray(self.model_.free_energy(self.variables_, rows)) - self.log_partition().value

    def log_partition(self) -> Estimate:
        """Return log Z, nats; it is computed once after fitting.

        It is exact if ``model_.tractable``, by enumerating the states of the smaller layer. Otherwise it is estimated
        by annealed importance sampling, which may take minutes. With too few ``n_temperatures`` the estimate is too
        low, and likelihoods are too high. ``n_temperatures`` and ``n_particles`` may be changed after fitting.

        Warns:
          ConvergenceWarning: if the effective sample size is small.
        """
        check_is_fitted(self)
        settings = (self.n_particles, self.n_temperatures)
        if settings not in self._log_partitions:
            self._log_partitions[settings] = self._compute_log_partition()
        return self._log_partitions[settings]

    def _compute_log_partition(self) -> Estimate:
        if self.model_.tractable:
            value = float(boltzmann.log_partition(self.model_.rbm_params(self.variables_)))
            return Estimate(value, value, value)
        self._check_settings()
        log_z = self.model_.log_partition_estimate(
            self.variables_, self._key(), self.n_particles, num_temperatures=self.n_temperatures
        )
        if log_z.effective_sample_size < MIN_EFFECTIVE_SAMPLE_SIZE:
            warnings.warn(
                f"the effective sample size of log Z is {log_z.effective_sample_size:.1f} of {self.n_particles} "
                f"particles, but should be at least {MIN_EFFECTIVE_SAMPLE_SIZE}; raise "
                f"n_temperatures={self.n_temperatures} or n_particles",
                ConvergenceWarning,
                stacklevel=3,
            )
        return Estimate(float(log_z.value), float(log_z.low), float(log_z.high))

    @property
    def _n_features_out(self) -> int:  # scikit-learn derives column names from it
        return self.model_.num_hidden

    def _experiment(self, X: np.ndarray) -> Experiment:
        """See ``DensityTransformer``."""
        model = boltzmann.RBM(
            shape=X.shape[1:],
            num_hidden=self.n_components,
            **self._units_and_phase(),
            centred=self.centred,
            sparsity=self.sparsity,
            sparsity_weight=self.sparsity_weight,
            weight_decay=self.weight_decay,
        )
        model.units.encode(jnp.asarray(X), model.shape)  # compiled training cannot check values
        return Experiment(
            model=model,
            data=data.arrays(X, name="X"),
            optimizer=optax.sgd(self.learning_rate),
            **self._epochs(len(X)),
        )
