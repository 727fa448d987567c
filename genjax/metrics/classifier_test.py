"""Classifier two-sample test: can a classifier distinguish generated samples from data?

Take equally many generated and reference points, train on half of each and hold out the other n points. If the two
distributions are equal, the classifier is as accurate on the held-out points as guessing,

    accuracy ~ N(½, 1/(4n)),                                                                                  (1)

to first order, if it labels half of them as generated. If it favours one label the variance is smaller, and the p-value
is more informative than the accuracy and its error. The p-value is exact for any classifier: n/2 of the n points are
generated, and the number of correct ones among the a points labelled as generated is hypergeometric (Fisher's exact
test),

    p = P(H ≥ h),    h correct among a,    H ~ Hypergeometric(n, n/2, a).                                     (2)

David Lopez-Paz and Maxime Oquab, "Revisiting classifier two-sample tests", 2017, arXiv:1610.06545.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback, chunks

PREDICTION_BATCH_SIZE = 1024


@check_arguments
def classifier_two_sample_test(
    key: Array,
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    classifier: Any = None,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return the held-out accuracy with which a classifier distinguishes samples from data, and its p-value.

    N and M are at least 10. The classifier is one of scikit-learn's, or any object with ``fit`` and ``predict``; None
    is ``nearest_neighbours``. It is copied, and a ``random_state`` of None is set from the key, which also shuffles and
    balances the two samples. Compare accuracies of the same classifier only. ``progress`` counts held-out points,
    2 · (min(N, M) // 2).

    Returns:
      ``classifier_accuracy`` on the held-out half, ½ for indistinguishable samples and 1 for obvious differences;
      ``classifier_accuracy_standard_error``, ½/√n (1), an upper bound; and ``p_value`` (2), the probability that equal
      distributions are distinguished at least as well.
    """
    from scipy.stats import hypergeom

    reference, generated = checked_features(reference, generated, minimum=10)
    split_key, seed_key = jax.random.split(key)
    (x, labels), (held_out, truth) = _halves(split_key, np.asarray(reference), np.asarray(generated))
    learner = nearest_neighbours(len(x)) if classifier is None else _seeded(seed_key, classifier)
    learner.fit(x, labels)
    parts = chunks(len(held_out), PREDICTION_BATCH_SIZE, progress)
    predicted = np.concatenate([learner.predict(held_out[part]) for part in parts])
    correct, positive = predicted == truth, predicted == 1
    true_positives = np.sum(correct & positive)
    return {
        "classifier_accuracy": jnp.float32(correct.mean()),
        "classifier_accuracy_standard_error": jnp.float32(0.5 / np.sqrt(correct.size)),  # equation 1
        "p_value": jnp.float32(
            hypergeom.sf(true_positives - 1, correct.size, correct.size // 2, positive.sum())  # equation 2
        ),
    }


@check_arguments
def nearest_neighbours(num_points: PositiveInt) -> Any:
    """Return the paper's k-nearest-neighbour classifier on standardized features, k = √n for n training points."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neighbours = int(np.sqrt(num_points)) | 1  # odd: no ties between two classes
    return make_pipeline(StandardScaler(), KNeighborsClassifier(neighbours))


def _seeded(key: Array, classifier: Any) -> Any:
    """Return an unfitted copy in which every random_state of None is set from the key."""
    from sklearn.base import clone

    copy: Any = clone(classifier, safe=False)
    settings = copy.get_params() if hasattr(copy, "get_params") else {}
    unset = [name for name, value in settings.items() if name.endswith("random_state") and value is None]
    if unset:
        copy.set_params(**dict.fromkeys(unset, int(jax.random.bits(key))))
    return copy


def _halves(key: Array, reference: np.ndarray, generated: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return points and labels (1 = generated) for training, and equally many held out, balanced between the labels."""
    count = min(len(reference), len(generated)) // 2
    sides = zip(jax.random.split(key), (reference, generated), strict=True)
    shuffled = [side[np.asarray(jax.random.permutation(k, len(side)))[: 2 * count]] for k, side in sides]
    labels = np.repeat([0, 1], count)
    return tuple(
        (np.concatenate([side[half] for side in shuffled]), labels) for half in (slice(None, count), slice(count, None))
    )
