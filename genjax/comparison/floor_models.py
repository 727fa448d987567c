"""Simple models of any data, whose numbers are floors: a trained model that does not beat them has learned nothing.

Their ``init`` fits them to all examples of a batch, by scikit-learn or by a formula, and they have no objectives. It is
not traceable, but ``sample`` and ``log_prob`` are.

* ``Factorized`` and ``FactorizedKernels``: independent dimensions, with the frequency of each value, or with a kernel
  density estimate for each dimension.
* ``FullGaussian``: one Gaussian, whose covariance is shrunk (Olivier Ledoit and Michael Wolf 2004, "A well-conditioned
  estimator for large-dimensional covariance matrices").
* ``MixtureOfGaussians``: a mixture, whose number of components is chosen on held-out examples.
* ``Kernels``: a Gaussian kernel at each example, whose width is chosen on held-out examples.
* ``NearestNeighbours``: points between an example and one of its k nearest neighbours (SMOTE, Nitesh Chawla, Kevin
  Bowyer, Lawrence Hall and Philip Kegelmeyer 2002, arXiv:1106.1813). It has no density.
* ``MarkovChain``: sequences in which each token depends only on the one before it.
* ``Bootstrap``: the examples themselves, drawn again. It has no density, and memorizes all that it has seen.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.special import logsumexp

from genjax.arguments import PositiveInt, Widths, check_arguments
from genjax.core import Array, Batch, Objective, Variables
from genjax.metrics.parzen import parzen_bandwidth
from genjax.ops import broadcast_mask, categorical, check_example_shape, gaussian_log_prob, known_values
from genjax.ops.distances import squared_distances
from genjax.vae.factorized_categorical import FactorizedCategorical

MAX_FULL_DIM = 128  # dimensions above which the components of a mixture have diagonal covariances
HELD_OUT = 0.1  # share of the examples on which a setting is chosen
MIN_VARIANCE = 1e-3  # least variance of a component along any axis, as a share of the mean variance of the data


class _Fitted:
    """A model that is fitted by ``init`` alone."""

    @property
    def discrete(self) -> bool:
        """False: the likelihood, if there is one, is a density."""
        return False

    def objectives(self) -> tuple[Objective, ...]:
        """Return no objectives: nothing is left to train."""
        return ()


def _rows(x: Any) -> np.ndarray:
    """Return examples as float64 of shape (N, D)."""
    return np.asarray(x, np.float64).reshape(len(x), -1)


def _split(key: Array, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return random rows to fit, and the others to choose a setting on, at least one of each of two or more rows."""
    order = np.asarray(jax.random.permutation(key, len(rows)))
    num_held_out = max(1, round(HELD_OUT * len(rows)))
    return rows[order[num_held_out:]], rows[order[:num_held_out]]


def _variables(**params: Any) -> Variables:
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    floats = {name: a.astype(jnp.float32) for name, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.floating)}
    return Variables(params={"fit": arrays | floats}, state={})


def _differs_by_example(mask: Array, x: Array) -> bool:
    """Return whether a mask has a row for each example of x (B, ...)."""
    return jnp.ndim(mask) == x.ndim and jnp.shape(mask)[0] > 1


def _impute_each(
    impute: Callable[[Variables, Array, Array, Array], Array], variables: Variables, key: Array, x: Array, mask: Array
) -> Array:
    """Impute one example after the other, each with its own mask."""
    rows = jax.random.split(key, len(x)), x, broadcast_mask(mask, x.shape)
    return jax.lax.map(lambda row: impute(variables, row[0], row[1][None], row[2][None])[0], rows)


class _Independent(_Fitted):
    """A model of independent dimensions."""

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...)."""
        raise NotImplementedError

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array) -> Array:
        """Draw the unknown values of x (B, ...) independently of the known ones."""
        drawn = self.sample(variables, key, x.shape[0])
        x, mask = known_values(x, mask, drawn.shape[1:])
        return jnp.where(mask, x.astype(drawn.dtype), drawn)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Factorized(_Independent):
    """Independent dimensions with evenly spaced values, each with its frequency plus half a count.

    Attributes:
      num_values: number of values.
      low: lowest value.
      high: highest value.

    >>> model = Factorized(num_values=2, low=0.0, high=1.0)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[0.0], [0.0], [1.0]])})
    >>> np.exp(model.log_prob(variables, jnp.array([[0.0], [1.0]]))).round(3).astype(float).tolist()  # 2½, 1½ of 4
    [0.625, 0.375]
    """

    num_values: PositiveInt
    low: float
    high: float

    @property
    def discrete(self) -> bool:
        """True: the likelihood is a mass."""
        return True

    @property
    def _categorical(self) -> FactorizedCategorical:
        return FactorizedCategorical(num_values=self.num_values)

    def _index(self, x: Array) -> Array:
        step = (self.high - self.low) / max(1, self.num_values - 1)
        return jnp.round((x - self.low) / step).astype(jnp.int32)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Count the values of all examples (N, ...)."""
        del key
        index = np.asarray(self._index(batch["x"]))
        counts = np.stack([np.sum(index == value, axis=0) for value in range(self.num_values)], axis=-1)
        return _variables(logits=np.log(counts + 0.5))

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-mass of x (B, ...) in nats, (B,)."""
        return self._categorical.log_prob(Variables(variables.params["fit"], {}), self._index(x))

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...), float32."""
        index = self._categorical.sample(Variables(variables.params["fit"], {}), key, num_samples)
        return self.low + (self.high - self.low) * index / max(1, self.num_values - 1)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FactorizedKernels(_Independent):
    """Independent dimensions of real numbers, each with a kernel density estimate whose width is Scott's rule.

    >>> fit = FactorizedKernels().init(jax.random.key(0), {"x": jnp.array([[-1.0], [1.0]])}).params["fit"]
    >>> fit["width"].tolist()  # a standard deviation of 1 times 2 ** -0.2
    [0.8705505728721619]
    """

    def init(self, key: Array, batch: Batch) -> Variables:
        """Keep all examples (N, ...) and the width of each dimension."""
        del key
        spread = _rows(batch["x"]).std(axis=0)
        spread = np.maximum(spread, math.sqrt(MIN_VARIANCE) * spread.mean())
        width = spread * len(batch["x"]) ** -0.2
        return _variables(examples=batch["x"], width=width.reshape(batch["x"].shape[1:]))

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-density of x (B, ...) in nats, (B,)."""
        fit = variables.params["fit"]
        columns, examples = (a.reshape(len(a), -1).T for a in (x, fit["examples"]))

        def of_dimension(parts: tuple[Array, Array, Array]) -> Array:
            values, centers, width = parts
            return logsumexp(gaussian_log_prob(values[:, None], centers[None], 2 * jnp.log(width)), axis=1)

        sums = jax.lax.map(of_dimension, (columns, examples, fit["width"].ravel()))
        return jnp.sum(sums - math.log(examples.shape[1]), axis=0)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...)."""
        fit, (index_key, noise_key) = variables.params["fit"], jax.random.split(key)
        shape = (num_samples, *fit["examples"].shape[1:])
        index = jax.random.randint(index_key, shape, 0, len(fit["examples"]))
        noise = fit["width"][None] * jax.random.normal(noise_key, shape)
        return jnp.take_along_axis(fit["examples"], index, axis=0) + noise


class _Mixture(_Fitted):
    """A mixture of K Gaussians with Cholesky factors of their covariances, or standard deviations if diagonal."""

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-density of x (B, ...) in nats, (B,)."""
        fit = variables.params["fit"]
        rows, means = x.reshape(len(x), -1), fit["means"].reshape(len(fit["means"]), -1)
        if fit["scale"].ndim == 2:
            logs = jnp.sum(gaussian_log_prob(rows[None], means[:, None], 2 * jnp.log(fit["scale"])[:, None]), axis=-1)
        else:
            logs = jax.lax.map(lambda part: _gaussian_log_prob(rows, *part), (means, fit["scale"]))
        return logsumexp(fit["log_weights"][:, None] + logs, axis=0)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...)."""
        fit, (index_key, noise_key) = variables.params["fit"], jax.random.split(key)
        means = fit["means"].reshape(len(fit["means"]), -1)
        noise = jax.random.normal(noise_key, (num_samples, means.shape[1]))
        index = categorical(index_key, jnp.broadcast_to(fit["log_weights"], (num_samples, len(means))))
        if fit["scale"].ndim == 2:
            spread = fit["scale"][index] * noise
        else:  # from every component: a covariance for each sample would take more memory
            spread = jnp.einsum("nd,ked->kne", noise, fit["scale"])[index, jnp.arange(num_samples)]
        return (means[index] + spread).reshape(num_samples, *fit["means"].shape[1:])

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array) -> Array:
        """Draw the unknown values of x (B, ...) given the known ones: a component, and then its conditional Gaussian.

        With a draw z of a component, Σ its covariance and K the known dimensions, z + Σ_·K Σ_KK⁻¹ (x_K − z_K) is a draw
        of its conditional.
        """
        check_example_shape(x, variables.params["fit"]["means"].shape[1:])
        if _differs_by_example(mask, x):
            return _impute_each(self.impute, variables, key, x, mask)
        fit, (index_key, noise_key) = variables.params["fit"], jax.random.split(key)
        known = broadcast_mask(mask, (1, *x.shape[1:])).reshape(-1)
        rows, means = jnp.where(known[None], x.reshape(len(x), -1), 0), fit["means"].reshape(len(fit["means"]), -1)
        noise = jax.random.normal(noise_key, rows.shape)

        def component(part: tuple[Array, Array]) -> tuple[Array, Array]:
            mean, scale = part
            scale = jnp.diag(scale) if scale.ndim == 1 else scale
            covariance = scale @ scale.T
            both_known = known[:, None] & known[None]
            factor = jnp.linalg.cholesky(jnp.where(both_known, covariance, jnp.eye(len(mean))))  # Σ_KK, and 1 elsewhere
            log_prob = _gaussian_log_prob(rows, jnp.where(known, mean, 0), factor)  # of x_K, up to a constant
            drawn = mean[None] + noise @ scale.T
            gap = jnp.where(known[None], rows - drawn, 0)
            return log_prob, drawn + cho_solve((factor, True), gap.T).T @ jnp.where(known[:, None], covariance, 0)

        logs, drawn = jax.lax.map(component, (means, fit["scale"]))
        index = categorical(index_key, (fit["log_weights"][:, None] + logs).T)
        filled = drawn[index, jnp.arange(len(x))]
        return jnp.where(known[None], rows, filled).reshape(x.shape)


def _gaussian_log_prob(rows: Array, mean: Array, scale: Array) -> Array:
    whitened = solve_triangular(scale, (rows - mean[None]).T, lower=True)
    return jnp.sum(gaussian_log_prob(whitened), axis=0) - jnp.sum(jnp.log(jnp.diag(scale)))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FullGaussian(_Mixture):
    """One Gaussian with a full covariance, shrunk towards a multiple of the identity by Ledoit and Wolf's rule.

    >>> fit = FullGaussian().init(jax.random.key(0), {"x": jnp.eye(3)}).params["fit"]
    >>> fit["means"].shape, fit["scale"].shape
    ((1, 3), (1, 3, 3))
    """

    def init(self, key: Array, batch: Batch) -> Variables:
        """Fit mean and covariance of all examples (N, ...)."""
        del key
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(_rows(batch["x"]))
        scale, mean = np.linalg.cholesky(fitted.covariance_), fitted.location_.reshape(batch["x"].shape[1:])
        return _variables(log_weights=np.zeros(1), means=mean[None], scale=scale[None])


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MixtureOfGaussians(_Mixture):
    """A mixture of Gaussians, with full covariances up to 128 dimensions and diagonal ones above.

    Attributes:
      candidates: numbers of components, of which the best on held-out examples is fitted to all.

    >>> model = MixtureOfGaussians(candidates=(1, 2))
    >>> x = jax.random.normal(jax.random.key(1), (60, 1)) + 20.0 * (jnp.arange(60) % 2)[:, None]
    >>> model.init(jax.random.key(0), {"x": x}).params["fit"]["means"].shape
    (2, 1)
    """

    candidates: Widths = (2, 5, 10, 20, 40)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Fit all examples (N, ...) by expectation maximization."""
        rows, is_full = _rows(batch["x"]), math.prod(batch["x"].shape[1:]) <= MAX_FULL_DIM
        split_key, seed_key = jax.random.split(key)
        train, held_out = _split(split_key, rows)
        seed = int(jax.random.randint(seed_key, (), 0, 2**31 - 1))
        usable = [number for number in self.candidates if number <= len(train)] or [1]
        scores = {number: _fit_mixture(train, number, is_full, seed).score(held_out) for number in usable}
        fitted = _fit_mixture(rows, max(scores, key=lambda number: scores[number]), is_full, seed)
        scale = np.linalg.cholesky(fitted.covariances_) if is_full else np.sqrt(fitted.covariances_)
        means = fitted.means_.reshape(-1, *batch["x"].shape[1:])
        return _variables(log_weights=np.log(fitted.weights_), means=means, scale=scale)


def _fit_mixture(rows: np.ndarray, num_components: int, is_full: bool, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    kind, floor = "full" if is_full else "diag", MIN_VARIANCE * rows.var(axis=0).mean()
    mixture = GaussianMixture(num_components, covariance_type=kind, reg_covar=floor, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 steps are enough for a floor
        return mixture.fit(rows)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Kernels(_Fitted):
    """A kernel density estimate: a Gaussian of one width at each example.

    >>> fit = Kernels().init(jax.random.key(0), {"x": jnp.arange(20.0)[:, None]}).params["fit"]
    >>> fit["examples"].shape, fit["width"].shape
    ((20, 1), ())
    """

    def init(self, key: Array, batch: Batch) -> Variables:
        """Keep all examples (N, ...), and choose the width on held-out ones."""
        rows = _rows(batch["x"])
        train, held_out = _split(key, rows)
        width = parzen_bandwidth(train, held_out, (rows.std() * np.logspace(-2, 0.5, 26)).tolist())
        return _variables(examples=batch["x"], width=width)

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-density of x (B, ...) in nats, (B,)."""
        fit = variables.params["fit"]
        rows, examples = (a.reshape(len(a), -1) for a in (x, fit["examples"]))
        center = jnp.mean(examples, axis=0, keepdims=True)
        squared = squared_distances(rows - center, examples - center) / jnp.square(fit["width"])
        normalizer = math.log(len(examples)) + rows.shape[1] * (0.5 * math.log(2 * math.pi) + jnp.log(fit["width"]))
        return logsumexp(-0.5 * squared, axis=1) - normalizer

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...)."""
        fit, (index_key, noise_key) = variables.params["fit"], jax.random.split(key)
        centers = _drawn(fit["examples"], index_key, num_samples)
        return centers + fit["width"] * jax.random.normal(noise_key, centers.shape)

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array) -> Array:
        """Draw the unknown values of x (B, ...): those of an example whose known values are near, plus noise."""
        check_example_shape(x, variables.params["fit"]["examples"].shape[1:])
        if _differs_by_example(mask, x):
            return _impute_each(self.impute, variables, key, x, mask)
        fit, (index_key, noise_key) = variables.params["fit"], jax.random.split(key)
        known = broadcast_mask(mask, (1, *x.shape[1:]))
        rows, examples = (jnp.where(known, a, 0).reshape(len(a), -1) for a in (x, fit["examples"]))
        logits = -0.5 * squared_distances(rows, examples) / jnp.square(fit["width"])
        centers = fit["examples"][jax.random.categorical(index_key, logits)]
        return jnp.where(known, x, centers + fit["width"] * jax.random.normal(noise_key, x.shape))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class NearestNeighbours(_Fitted):
    """Points at a uniform place between an example and one of its nearest neighbours, without a density.

    Attributes:
      num_neighbours: number of neighbours, k.

    >>> model = NearestNeighbours(num_neighbours=1)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[0.0], [1.0], [10.0], [11.0]])})
    >>> variables.params["fit"]["neighbours"].ravel().tolist()
    [1, 0, 3, 2]
    """

    num_neighbours: PositiveInt = 5

    def init(self, key: Array, batch: Batch) -> Variables:
        """Keep all examples (N, ...), and find the neighbours of each."""
        del key
        from sklearn.neighbors import NearestNeighbors

        number = min(self.num_neighbours, len(batch["x"]) - 1)
        neighbours = NearestNeighbors(n_neighbors=number).fit(_rows(batch["x"])).kneighbors(return_distance=False)
        return _variables(examples=batch["x"], neighbours=neighbours.astype(np.int32))

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw points (num_samples, ...)."""
        fit, keys = variables.params["fit"], jax.random.split(key, 3)
        index = jax.random.randint(keys[0], (num_samples,), 0, len(fit["examples"]))
        place = jax.random.randint(keys[1], (num_samples,), 0, fit["neighbours"].shape[1])
        start, end = fit["examples"][index], fit["examples"][fit["neighbours"][index, place]]
        share = jax.random.uniform(keys[2], (num_samples,) + (1,) * (start.ndim - 1))
        return start + share * (end - start)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MarkovChain(_Fitted):
    """Sequences in which each token depends only on the one before it, p(x) = π(x₁) Π_t P(x_t | x_{t−1}).

    π and the rows of P are relative frequencies, after 1/K is added to the count of each of the K values.

    Attributes:
      num_values: number of values of a token.
      length: number of tokens of a sequence.

    >>> model = MarkovChain(num_values=2, length=3)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[0, 1, 0]])})
    >>> np.exp(model.log_prob(variables, jnp.array([[0, 1, 0]]))).round(6).astype(float).tolist()  # (1½ / 2)³
    [0.421875]
    """

    num_values: PositiveInt
    length: PositiveInt

    @property
    def discrete(self) -> bool:
        """True: the likelihood is a mass."""
        return True

    def init(self, key: Array, batch: Batch) -> Variables:
        """Count the first tokens and the pairs of all sequences (N, T)."""
        del key
        x, size = np.asarray(batch["x"]), self.num_values
        first = np.bincount(x[:, 0], minlength=size)
        pairs = np.bincount((size * x[:, :-1].astype(np.int64) + x[:, 1:]).ravel(), minlength=size**2)
        counts = np.concatenate([first[None], pairs.reshape(size, size)]) + 1 / size
        log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
        return _variables(first=log_p[0], transition=log_p[1:])

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the log-mass of sequences x (B, T) in nats, (B,)."""
        fit, x = variables.params["fit"], x.astype(jnp.int32)
        return fit["first"][x[:, 0]] + jnp.sum(fit["transition"][x[:, :-1], x[:, 1:]], axis=1)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw sequences (num_samples, length), int32."""
        fit, (first_key, key) = variables.params["fit"], jax.random.split(key)
        first = categorical(first_key, jnp.broadcast_to(fit["first"], (num_samples, self.num_values)))

        def step(token: Array, key: Array) -> tuple[Array, Array]:
            following = categorical(key, fit["transition"][token])
            return following, following

        _, rest = jax.lax.scan(step, first, jax.random.split(key, self.length - 1))
        return jnp.concatenate([first[:, None], rest.T], axis=1)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Bootstrap(_Fitted):
    """Examples drawn again, each equally likely, without a density.

    >>> model = Bootstrap()
    >>> variables = model.init(jax.random.key(0), {"x": jnp.array([[3.0]])})
    >>> model.sample(variables, jax.random.key(1), 2).tolist()
    [[3.0], [3.0]]
    """

    def init(self, key: Array, batch: Batch) -> Variables:
        """Keep all examples (N, ...)."""
        del key
        return _variables(examples=batch["x"])

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw examples (num_samples, ...)."""
        return _drawn(variables.params["fit"]["examples"], key, num_samples)


def _drawn(examples: Array, key: Array, num_samples: int) -> Array:
    return examples[jax.random.randint(key, (num_samples,), 0, len(examples))]
