"""The deep belief net as a scikit-learn estimator."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from genjax.estimators import DBN

STATES = np.array(list(np.ndindex(2, 2, 2, 2)))
X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 20, axis=0)


@pytest.fixture(scope="module")
def net() -> DBN:
    return DBN(n_components=(3, 2), learning_rate=0.2, n_iter=100, n_tuning_iter=20, random_state=0).fit(X)


def test_it_learns_two_rows(net):
    """The optimum is -log 2 = -0.69 nats; independent units have -4 log 2."""
    assert -1.2 < net.score(X) < -np.log(2)
    rows = net.sample(200, random_state=0)
    assert np.mean([row.tolist() in X[[0, -1]].tolist() for row in rows]) > 0.6  # an eighth by chance
    # Exact masses sum to one, and the bound is below them.
    assert np.exp(net.score_samples(np.tile(STATES, (20, 1))).reshape(20, 16).mean(axis=0)).sum() < 1


def test_it_works_in_a_pipeline(net):
    labels = np.repeat([0, 1], 20)
    pipeline = make_pipeline(clone(net).set_params(n_tuning_iter=0), LogisticRegression()).fit(X, labels)
    assert pipeline.score(X, labels) == 1.0
    assert pipeline[0].transform(X).shape == (40, 2)
    assert pipeline[0].get_feature_names_out().tolist() == ["dbn0", "dbn1"]


def test_random_state_makes_training_reproducible(net):
    again = clone(net).fit(X)
    np.testing.assert_allclose(again.transform(X), net.transform(X), rtol=1e-5)
    np.testing.assert_allclose(again.score_samples(X), net.score_samples(X), rtol=1e-5)
    other = clone(net).set_params(random_state=1).fit(X)
    assert np.abs(other.transform(X) - net.transform(X)).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": (3,)}, r"n_components is \(3,\), but must be of length 2 or more"),
        ({"n_tuning_iter": -1}, "n_tuning_iter is -1, but must be at least 0"),
        ({"tuning_rate": 0.0}, "tuning_rate is 0.0, but must be above 0"),
        ({"units": "binary"}, "units is 'binary', but must be a Units: .*; pass boltzmann.GaussianUnits"),
        ({"n_particles": 1}, "n_particles is 1, but must be at least 2"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        DBN(**settings).fit(X)


def test_grey_values_and_unfitted_nets_raise():
    with pytest.raises(ValueError, match=r"x is 0.5 at .*, but binary units take 0 and 1; binarize the data"):
        DBN(n_components=(3, 2)).fit(X / 2)
    with pytest.raises(NotFittedError):
        DBN().transform(X)
