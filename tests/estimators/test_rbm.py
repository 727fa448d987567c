"""The RBM as a scikit-learn estimator: training, likelihoods, samples and errors."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer

from genjax import boltzmann
from genjax.estimators import RBM
from genjax.runner import NonFiniteError

STATES = np.array(list(np.ndindex(2, 2, 2, 2)))
# Two rows: the optimum is -log 2 = -0.69 nats, and independent units have -4 log 2.
X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)
SETTINGS: dict[str, Any] = {"n_components": 3, "learning_rate": 0.2, "n_iter": 100, "batch_size": 10}


def cloned(estimator: RBM, **settings: Any) -> RBM:
    copy: Any = clone(estimator)
    return copy.set_params(**settings)


@pytest.fixture(scope="module")
def machine():
    return RBM(**SETTINGS, random_state=0).fit(X)


@pytest.fixture(scope="module")
def digits():
    """Return training rows, their classes, test rows and their classes."""
    x, label = load_digits(return_X_y=True)
    return x[::2], label[::2], x[1::2], label[1::2]


def test_a_pipeline_learns_digits(digits):
    x, label, test_x, test_label = digits
    binarizer = Binarizer(threshold=7.5)
    features = RBM(n_components=12, n_iter=10, random_state=0)
    pipeline = make_pipeline(binarizer, features, LogisticRegression(max_iter=500)).fit(x, label)
    assert pipeline.score(test_x, test_label) > 0.7  # ten classes from twelve features
    bits, test_bits = binarizer.transform(x), binarizer.transform(test_x)
    means = (bits.sum(axis=0) + 0.5) / (len(bits) + 1)
    independent = np.mean(np.sum(np.log(np.where(test_bits == 1, means, 1 - means)), axis=1))
    assert features.score(test_bits) > independent + 2


def test_scores_are_log_likelihoods_and_sum_to_one(machine):
    scores = machine.score_samples(STATES)
    exact = machine.model_.log_prob(machine.variables_, jax.numpy.asarray(STATES))
    np.testing.assert_array_equal(scores, np.asarray(exact))
    np.testing.assert_allclose(np.exp(scores).sum(), 1, rtol=1e-5)
    assert -1.5 < machine.score(X) < -np.log(2)
    np.testing.assert_allclose(machine.score(X), machine.score_samples(X).mean(), rtol=1e-6)


def test_fitted_attributes_are_the_parameters_of_the_formula(machine):
    w, b, c = machine.components_, machine.intercept_visible_, machine.intercept_hidden_
    assert (w.shape, b.shape, c.shape, machine.n_features_in_) == ((3, 4), (4,), (3,), 4)
    inputs = STATES @ w.T + c
    np.testing.assert_allclose(machine.transform(STATES), 1 / (1 + np.exp(-inputs)), rtol=1e-5)
    free = STATES @ b + np.logaddexp(0, inputs).sum(axis=1)
    np.testing.assert_allclose(machine.log_partition().value, np.logaddexp.reduce(free), rtol=1e-6)


def test_samples_have_the_frequencies_of_the_model(machine):
    samples = machine.sample(400, n_steps=2_000, random_state=1)
    assert samples.shape == (400, 4)
    assert set(np.unique(samples)) == {0, 1}
    frequencies = [np.mean((samples == state).all(axis=1)) for state in STATES]
    np.testing.assert_allclose(frequencies, np.exp(machine.score_samples(STATES)), atol=0.125)  # five standard errors
    np.testing.assert_array_equal(samples, machine.sample(400, n_steps=2_000, random_state=1))
    assert (machine.sample(400, n_steps=10) != machine.sample(400, n_steps=10)).any()


def test_an_int_as_random_state_makes_training_reproducible(machine):
    same = cloned(machine).fit(X)
    np.testing.assert_array_equal(machine.components_, same.components_)
    other = cloned(machine, random_state=None).fit(X)
    assert (machine.components_ != other.components_).any()


def test_parameters_survive_cloning_and_pickling(machine):
    settings = SETTINGS | {"units": boltzmann.SoftmaxUnits(3), "negative_phase": boltzmann.ParallelTempering(7)}
    estimator = RBM(**settings)
    assert settings.items() <= cloned(estimator).get_params().items()
    assert estimator.set_params(n_components=9).n_components == 9
    copy = pickle.loads(pickle.dumps(machine))
    np.testing.assert_array_equal(copy.components_, machine.components_)
    np.testing.assert_allclose(copy.score_samples(STATES), machine.score_samples(STATES), rtol=1e-5)


def test_a_grid_search_maximizes_likelihoods():
    search = GridSearchCV(RBM(**SETTINGS, random_state=0), {"learning_rate": [1e-6, 0.2]}, cv=2, refit=False)
    shuffled = np.random.default_rng(0).permutation(X)
    assert search.fit(shuffled).best_params_ == {"learning_rate": 0.2}
    bad, good = search.cv_results_["mean_test_score"]
    assert good > bad + 0.5


def test_log_z_of_a_large_machine_is_estimated_with_an_interval():
    x = np.random.default_rng(0).integers(0, 2, (20, 30))
    machine = RBM(n_components=30, n_iter=1, n_temperatures=200, random_state=0).fit(x)
    assert not machine.model_.tractable
    log_z = machine.log_partition()
    assert log_z.low < log_z.value < log_z.high
    # The weights are still close to 0, where units are independent.
    independent = 30 * np.log(2) + np.logaddexp(0, machine.intercept_visible_).sum()
    assert abs(log_z.value - independent) < 5
    energies = machine.model_.free_energy(machine.variables_, jax.numpy.asarray(x))
    np.testing.assert_allclose(machine.score_samples(x), -np.asarray(energies) - log_z.value, rtol=1e-6)
    assert machine.log_partition() is log_z
    machine.set_params(n_particles=2)  # takes effect without another fit
    with pytest.warns(
        ConvergenceWarning, match=r"of log Z is .* of 2 particles, but should be at least 10; raise n_temperatures=200"
    ):
        assert machine.log_partition() != log_z


def test_fitting_again_recomputes_log_z():
    machine = RBM(**SETTINGS, random_state=0).fit(X)
    old = machine.log_partition()
    machine.fit(1 - X[:, [0, 0, 0, 0]])
    assert machine.log_partition() != old
    np.testing.assert_allclose(np.exp(machine.score_samples(STATES)).sum(), 1, rtol=1e-5)


def test_it_fits_softmax_units():
    x = np.repeat([[2, 0, 1, 1], [0, 2, 2, 1]], 20, axis=0)
    machine = RBM(**SETTINGS, units=boltzmann.SoftmaxUnits(3), random_state=0).fit(x)
    every = np.array(list(np.ndindex(3, 3, 3, 3)))
    np.testing.assert_allclose(np.exp(machine.score_samples(every)).sum(), 1, rtol=1e-5)
    assert machine.components_.shape == (3, 12)
    assert set(np.unique(machine.sample(50, n_steps=10, random_state=0))) <= {0, 1, 2}


def test_verbose_shows_progress_on_stderr(machine, capsys):
    cloned(machine, n_iter=1).fit(X)
    assert capsys.readouterr() == ("", "")
    cloned(machine, n_iter=1, verbose=True).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "RBM: step 4 of 4" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components is 0, but must be at least 1"),
        ({"n_iter": 0}, "n_iter is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1, but must be above 0"),
        ({"sparsity": 1.0}, r"sparsity is 1.0, but must be in \(0, 1\)"),
        ({"n_particles": 1}, "n_particles is 1, but must be at least 2"),
        ({"n_temperatures": 0}, "n_temperatures is 0, but must be at least 1"),
        ({"units": "gaussian"}, r"units is 'gaussian', but must be a Units: .*; pass boltzmann.GaussianUnits\(\)"),
        ({"negative_phase": boltzmann.Persistent}, r"negative_phase is .*; pass boltzmann.Persistent\(\), for example"),
    ],
)
def test_invalid_settings_raise(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        RBM(**settings).fit(X)


def test_invalid_rows_raise(machine):
    with pytest.raises(ValueError, match=r"x is 0\.5 at \(0, 0\), but binary units take 0 and 1; binarize the data"):
        RBM().fit(X + 0.5)
    with pytest.raises(ValueError, match=r"x is 2 at \(0, 2\), but binary units take 0 and 1"):
        machine.transform(2 * X)
    with pytest.raises(ValueError, match="X has 3 features, but RBM is expecting 4 features"):
        machine.score_samples(X[:, :3])
    with pytest.raises(ValueError, match="n_samples is 0, but must be at least 1"):
        machine.sample(0)


@pytest.mark.parametrize("method", ["transform", "score_samples", "score", "sample", "log_partition"])
def test_methods_need_fitting(method):
    arguments = {"sample": (1,), "log_partition": ()}.get(method, (X,))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(RBM(), method)(*arguments)


def test_divergence_raises():
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        cloned(RBM(**SETTINGS), units=boltzmann.GaussianUnits(), learning_rate=1e30).fit(X)
