"""Classifier two-sample test: can a classifier tell samples from data?

With as many generated as reference points, half of both are for learning and n are held out. If both distributions are
equal, the held-out points that the classifier labels rightly are as many as by guessing,

    accuracy ~ N(½, 1/(4n)),                                                                                  (1)

to first order, where it calls half of them generated; where it favours one side the variance is smaller, and the
p-value tells more than accuracy and error do. It is exact for any classifier: n/2 of the n points are generated, and of
the a that are called so, those that are have a hypergeometric distribution (Fisher's exact test),

    p = P(H ≥ h),    h right ones among a,    H ~ Hypergeometric(n, n/2, a).                                  (2)

David Lopez-Paz and Maxime Oquab, "Revisiting classifier two-sample tests", 2017, arXiv:1610.06545.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.metric import Values
from genjax.metrics.progress import Done

PREDICTED_AT_ONCE = 1024


def classifier_two_sample_test(
    key: Array,
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    classifier: Any = None,
    progress: Done | None = None,
) -> Values:
    """Return how well a classifier tells samples from data that it has not seen.

    Args:
      key: shuffles, balances the sides by leaving out some of the larger, and seeds the classifier.
      reference: data, or its features, shape (N, D).
      generated: samples, shape (M, D).
      classifier: of scikit-learn, or with its ``fit`` and ``predict``; ``nearest_neighbours`` when None. It is copied,
        and where its ``random_state`` is None it takes one from the key. An accuracy is that of this classifier:
        compare numbers of the same one only.
      progress: called with the number of held-out points just finished, 2 · (min(N, M) // 2) in all.

    Returns:
      ``classifier_accuracy`` on the held-out half, ½ for indistinguishable samples and 1 for plain differences;
      ``classifier_accuracy_standard_error``, ½/√n (1), which is the largest that it can be; and
      ``p_value`` (2), how likely it is for equal distributions to be told apart as well as these.

    Raises:
      ValueError: for fewer than ten samples, different numbers of features, or any that is not finite.
    """
    from scipy.stats import hypergeom

    reference, generated = checked_features(reference, generated, minimum=10)
    split_key, seed_key = jax.random.split(key)
    (x, labels), (held_out, truth) = _halves(split_key, np.asarray(reference), np.asarray(generated))
    learner = nearest_neighbours(len(x)) if classifier is None else _seeded(seed_key, classifier)
    learner.fit(x, labels)
    called = []
    for start in range(0, len(held_out), PREDICTED_AT_ONCE):
        called.append(np.asarray(learner.predict(held_out[start : start + PREDICTED_AT_ONCE])))
        if progress is not None:
            progress(len(called[-1]))
    right, called_generated = np.concatenate(called) == truth, np.concatenate(called) == 1
    found = np.sum(right & called_generated)
    return {
        "classifier_accuracy": jnp.float32(right.mean()),
        "classifier_accuracy_standard_error": jnp.float32(0.5 / np.sqrt(right.size)),  # equation 1
        "p_value": jnp.float32(hypergeom.sf(found - 1, right.size, right.size // 2, called_generated.sum())),  # eq. 2
    }


def nearest_neighbours(num_points: int) -> Any:
    """Return the paper's k-nearest-neighbour classifier on standardized features, k = √n of n learning points."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    neighbours = int(np.sqrt(num_points)) | 1  # odd: no ties between two classes
    return make_pipeline(StandardScaler(), KNeighborsClassifier(neighbours))


def _seeded(key: Array, classifier: Any) -> Any:
    """Return an unfitted copy, whose every random_state that is None comes from the key."""
    from sklearn.base import clone

    copy: Any = clone(classifier, safe=False)
    settings = copy.get_params() if hasattr(copy, "get_params") else {}
    unset = [name for name, value in settings.items() if name.endswith("random_state") and value is None]
    if unset:
        copy.set_params(**dict.fromkeys(unset, int(jax.random.bits(key))))
    return copy


def _halves(key: Array, reference: np.ndarray, generated: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return points and labels (1 = generated) to learn from, and as many held out, both sides in equal numbers."""
    count = min(len(reference), len(generated)) // 2
    sides = zip(jax.random.split(key), (reference, generated), strict=True)
    shuffled = [side[np.asarray(jax.random.permutation(k, len(side)))[: 2 * count]] for k, side in sides]
    labels = np.repeat([0, 1], count)
    return tuple(
        (np.concatenate([side[half] for side in shuffled]), labels) for half in (slice(None, count), slice(count, None))
    )
