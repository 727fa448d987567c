"""Anomaly detection by generative models: four scores, and how well a score tells anomalies from normal data.

From log-likelihoods in nats, and higher for what is more anomalous,

    likelihood          −log p(x)
    likelihood ratio    log p_background(x) − log p(x)                                                          (1)
    typicality          |−log p(x) − Ĥ|,    Ĥ = −mean of log p over training data                               (2)
    input complexity    −log p(x) − L(x),   L the length of x as a lossless compressor writes it                (3)

The first is the obvious one, and fails: smooth and simple data is likely under models of complex data, so that
anomalies may be the likelier ones (Eric Nalisnick et al. 2019, arXiv:1810.09136). The others take off what has nothing
to do with the question. (1) Jie Ren et al. 2019, arXiv:1906.02845: the background model is of the same kind, trained on
perturbed data. (2) Eric Nalisnick et al. 2019, arXiv:1906.02994. (3) Joan Serrà et al. 2020, arXiv:1909.11480, where a
compressor stands in for the background model.

A score is judged by the area under its ROC curve, AUROC = P(anomaly above normal) + ½ P(equal), with the standard error
of Elizabeth DeLong, David DeLong and Daniel Clarke-Pearson, Biometrics 44, 1988, and by its average precision, which is
that of a coin where it equals the prevalence of anomalies.
"""

from __future__ import annotations

import math
import zlib

import jax.numpy as jnp
import numpy as np

from genjax.core import Array


def likelihood_score(log_prob: Array | np.ndarray) -> Array:
    """Return −log p: anomalies are unlikely.

    Args:
      log_prob: nats, shape (N,).
    """
    return -jnp.asarray(log_prob)


def likelihood_ratio_score(log_prob: Array | np.ndarray, background_log_prob: Array | np.ndarray) -> Array:
    """Return log p_background − log p: anomalies are no likelier than their background is (Ren et al. 2019).

    Args:
      log_prob: of the model, nats, shape (N,).
      background_log_prob: of a model of the same kind trained on perturbed data, for the same examples.

    Raises:
      ValueError: for shapes that differ.
    """
    if jnp.shape(log_prob) != jnp.shape(background_log_prob):
        raise ValueError(
            f"log_prob has shape {jnp.shape(log_prob)} and background_log_prob {jnp.shape(background_log_prob)}; "
            "score the same examples with both models"
        )
    return jnp.asarray(background_log_prob) - jnp.asarray(log_prob)  # equation 1


def typicality_score(log_prob: Array | np.ndarray, training_log_prob: Array | np.ndarray) -> Array:
    """Return |−log p − Ĥ|: anomalies are less likely or likelier than data is (Nalisnick et al. 2019).

    Args:
      log_prob: nats, shape (N,), or (N, M) for groups of M examples that are judged together by their mean.
      training_log_prob: nats, of training data, or better of validation data where the model overfits; any shape.

    Returns:
      Shape (N,), nats.

    Raises:
      ValueError: for no training data.

    >>> typicality_score(jnp.array([-5.0, -3.0, -9.0]), jnp.array([-4.0, -6.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    log_prob = jnp.asarray(log_prob)
    if jnp.size(training_log_prob) == 0:
        raise ValueError("training_log_prob is empty; score training or validation data with the same model")
    entropy = -jnp.mean(jnp.asarray(training_log_prob))
    surprise = -log_prob if log_prob.ndim == 1 else -jnp.mean(log_prob, axis=1)
    return jnp.abs(surprise - entropy)  # equation 2


def input_complexity_score(log_prob: Array | np.ndarray, length: Array | np.ndarray) -> Array:
    """Return −log p − L: the model takes more nats for anomalies than a compressor would (Serrà et al. 2020).

    Args:
      log_prob: nats, shape (N,), as a log-mass of the integers that were compressed; a log-density of them lacks the
        same number for all examples of one size, which changes no ranking.
      length: of the same examples, nats, see ``compressed_length``.

    Raises:
      ValueError: for shapes that differ.
    """
    if jnp.shape(log_prob) != jnp.shape(length):
        raise ValueError(
            f"log_prob has shape {jnp.shape(log_prob)} and length {jnp.shape(length)}; give the same examples to both"
        )
    return -jnp.asarray(log_prob) - jnp.asarray(length)  # equation 3


def compressed_length(x: Array | np.ndarray) -> np.ndarray:
    """Return how long each example is when compressed without loss, in nats: 8 ln 2 for each byte of the file.

    Grey, RGB and RGBA images of bytes become PNG files, all else the zlib compression of its bytes. What a file has at
    least, for a PNG about 60 bytes, is counted.

    Args:
      x: integers as the data set has them, before any preprocessing; images are uint8 of shape (N, H, W, C).

    Returns:
      Shape (N,), float32.

    Raises:
      ValueError: for numbers that are not integers.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "iub":
        raise ValueError(f"x has dtype {x.dtype}, but integers are compressed; give the data as it was before scaling")
    image = x.dtype == np.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3, 4)
    lengths = [_png_bytes(example) if image else len(zlib.compress(example.tobytes(), 9)) for example in x]
    return np.asarray(lengths, np.float32) * np.float32(8 * math.log(2))


def _png_bytes(image: np.ndarray) -> int:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", compress_level=9)
    return file.tell()


def detection(scores: Array | np.ndarray, labels: Array | np.ndarray) -> dict[str, float]:
    """Return how well scores tell anomalies from normal examples; only their order matters.

    Args:
      scores: shape (N,), higher for what is more anomalous; may be infinite.
      labels: shape (N,), 1 or True for anomalies, 0 or False for normal examples.

    Returns:
      ``auroc``, equal scores counted half; ``auroc_standard_error`` (DeLong), NaN where a class has a single example;
      ``average_precision`` of finding anomalies, and ``prevalence``, their share of the examples, which is the average
      precision of a score that knows nothing: compare average precisions at equal prevalence only.

    Raises:
      ValueError: for shapes that differ, NaN, labels other than 0 and 1, or examples of one class only.

    >>> result = detection(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    >>> {name: round(value, 4) for name, value in result.items()}
    {'auroc': 0.75, 'auroc_standard_error': 0.3536, 'average_precision': 0.8333, 'prevalence': 0.5}
    """
    from scipy.stats import rankdata
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores, anomalous = _checked(np.asarray(scores), np.asarray(labels))
    ranks = rankdata(scores)  # finite where scores are infinite
    return {
        "auroc": float(roc_auc_score(anomalous, ranks)),
        "auroc_standard_error": _standard_error(ranks[anomalous], ranks[~anomalous]),
        "average_precision": float(average_precision_score(anomalous, ranks)),
        "prevalence": float(anomalous.mean()),
    }


def _standard_error(anomalies: np.ndarray, normals: np.ndarray) -> float:
    """Spread of the AUROC from its components, each example's share of the other class on its right side."""
    from scipy.stats import rankdata

    if min(len(anomalies), len(normals)) < 2:
        return math.nan
    # Of the rank among all, the rank within its own class leaves the examples of the other one below, ties half.
    above = (anomalies - rankdata(anomalies)) / len(normals)
    below = (normals - rankdata(normals)) / len(anomalies)  # of the wrong side, which has the same variance
    # DeLong, DeLong & Clarke-Pearson (1988): the variance of a mean over pairs, by its components.
    return math.sqrt(above.var(ddof=1) / len(anomalies) + below.var(ddof=1) / len(normals))


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape} and labels {labels.shape}; give one of each for N examples")
    if np.isnan(scores).any():
        raise ValueError(
            f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN, first at index {np.isnan(scores).argmax()}; "
            "leave these examples out or mend the model"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels are {np.unique(labels)[:5]}, but must be 1 for anomalies and 0 for normal examples")
    anomalous = labels.astype(bool)
    if anomalous.all() or not anomalous.any():
        raise ValueError(
            f"{anomalous.sum()} of {len(labels)} examples are anomalies, but both classes are needed; add the other"
        )
    return scores.astype(np.float64), anomalous
