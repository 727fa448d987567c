"""Anomaly detection with generative models: four scores, and metrics of how well a score separates anomalies.

All scores derive from log-likelihoods in nats and are higher for more anomalous examples:

    likelihood          −log p(x)
    likelihood ratio    log p_background(x) − log p(x)                                                          (1)
    typicality          |−log p(x) − Ĥ|,    Ĥ = −mean of log p over training data                               (2)
    input complexity    −log p(x) − L(x),   L the length of x under a lossless compressor                       (3)

The likelihood alone is unreliable: models of complex data often give smooth, simple anomalies a higher likelihood than
normal data (Eric Nalisnick et al. 2019, arXiv:1810.09136). The other scores correct for what is unrelated to being
anomalous. (1) Jie Ren et al. 2019, arXiv:1906.02845: the background model has the same architecture and is trained on
perturbed data. (2) Eric Nalisnick et al. 2019, arXiv:1906.02994. (3) Joan Serrà et al. 2020, arXiv:1909.11480: a
compressor replaces the background model.

A score is evaluated by the area under its ROC curve, AUROC = P(anomaly above normal) + ½ P(equal), with the standard
error of Elizabeth DeLong, David DeLong and Daniel Clarke-Pearson, Biometrics 44, 1988, and by its average precision,
which equals the prevalence of anomalies for a random score.
"""

from __future__ import annotations

import math
import zlib

import jax.numpy as jnp
import numpy as np

from genjax.arguments import check_arguments
from genjax.core import Array


@check_arguments
def likelihood_score(log_prob: Array | np.ndarray) -> Array:
    """Return −log p, which is higher for unlikely examples, from log-likelihoods in nats, shape (N,)."""
    return -jnp.asarray(log_prob)


@check_arguments
def likelihood_ratio_score(log_prob: Array | np.ndarray, background_log_prob: Array | np.ndarray) -> Array:
    """Return log p_background − log p, which removes the likelihood of the background (Ren et al. 2019).

    Both are log-likelihoods of the same examples in nats, shape (N,); other shapes raise ValueError.
    """
    if jnp.shape(log_prob) != jnp.shape(background_log_prob):
        raise ValueError(
            f"log_prob has shape {jnp.shape(log_prob)} and background_log_prob {jnp.shape(background_log_prob)}; "
            "score the same examples with both models"
        )
    return jnp.asarray(background_log_prob) - jnp.asarray(log_prob)  # equation 1


@check_arguments
def typicality_score(log_prob: Array | np.ndarray, training_log_prob: Array | np.ndarray) -> Array:
    """Return |−log p − Ĥ|, which is higher for examples either less or more likely than data (Nalisnick et al. 2019).

    Scores are in nats, shape (N,), from log-likelihoods (N,), or (N, M) to score groups of M examples by their mean.
    ``training_log_prob`` has log-likelihoods of training data, any shape but not empty; of validation data if the model
    overfits.

    >>> typicality_score(jnp.array([-5.0, -3.0, -9.0]), jnp.array([-4.0, -6.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    log_prob = jnp.asarray(log_prob)
    if jnp.size(training_log_prob) == 0:
        raise ValueError("training_log_prob is empty; score training or validation data with the same model")
    entropy = -jnp.mean(jnp.asarray(training_log_prob))
    surprise = -log_prob if log_prob.ndim == 1 else -jnp.mean(log_prob, axis=1)
    return jnp.abs(surprise - entropy)  # equation 2


@check_arguments
def input_complexity_score(log_prob: Array | np.ndarray, length: Array | np.ndarray) -> Array:
    """Return −log p − L, the code length of the model in excess of a compressor's (Serrà et al. 2020).

    ``log_prob`` is the log-mass of the compressed integers in nats, shape (N,). A log-density differs from it by one
    constant for all examples of one size, and ranks them equally. ``length`` holds the compressed lengths of the same
    examples in nats; see ``compressed_length``. Other shapes raise ValueError.
    """
    if jnp.shape(log_prob) != jnp.shape(length):
        raise ValueError(
            f"log_prob has shape {jnp.shape(log_prob)} and length {jnp.shape(length)}; give the same examples to both"
        )
    return -jnp.asarray(log_prob) - jnp.asarray(length)  # equation 3


@check_arguments
def compressed_length(x: Array | np.ndarray) -> np.ndarray:
    """Return the length of each example under lossless compression in nats, 8 ln 2 per byte, float32 of shape (N,).

    ``x`` (N, ...) holds the integers of the data set before any preprocessing; other numbers raise ValueError. Grey,
    RGB and RGBA images, uint8 of shape (N, H, W, C), are compressed as PNG, all other data with zlib. The overhead of
    the file format, about 60 bytes for a PNG, is included.
    """
    x = np.asarray(x)
    if x.dtype.kind not in "iub":
        raise ValueError(f"x has dtype {x.dtype}, but must hold integers; give the data before any scaling")
    image = x.dtype == np.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3, 4)
    lengths = [_png_bytes(example) if image else len(zlib.compress(example.tobytes(), 9)) for example in x]
    return np.asarray(lengths, np.float32) * np.float32(8 * math.log(2))


def _png_bytes(image: np.ndarray) -> int:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG", compress_level=9)
    return file.tell()


@check_arguments
def detection_metrics(scores: Array | np.ndarray, labels: Array | np.ndarray) -> dict[str, float]:
    """Return AUROC and average precision of anomaly scores (N,); only the order of the scores matters.

    Scores are higher for more anomalous examples and may be infinite. Labels (N,) are 1 or True for anomalies, 0 or
    False for normal examples.

    Returns:
      ``auroc``, with ties counted half; ``auroc_standard_error`` (DeLong), NaN if a class has a single example;
      ``average_precision`` with anomalies as the positive class; and ``prevalence``, the fraction of anomalies, which
      is the average precision of a random score. Compare average precisions at equal prevalence only.

    Raises:
      ValueError: if shapes differ, scores are NaN, labels are not 0 or 1, or one class has no examples.

    >>> result = detection_metrics(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    >>> {name: round(value, 4) for name, value in result.items()}
    {'auroc': 0.75, 'auroc_standard_error': 0.3536, 'average_precision': 0.8333, 'prevalence': 0.5}
    """
    from scipy.stats import rankdata
    from sklearn.metrics import average_precision_score

    scores, anomalous = _checked(np.asarray(scores), np.asarray(labels))
    area, error = auroc(scores[anomalous], scores[~anomalous])
    ranks = rankdata(scores)  # finite where scores are infinite
    return {
        "auroc": area,
        "auroc_standard_error": error,
        "average_precision": float(average_precision_score(anomalous, ranks)),
        "prevalence": float(anomalous.mean()),
    }


@check_arguments
def auroc(high: np.ndarray, low: np.ndarray) -> tuple[float, float]:
    """Return P(high > low) + ½ P(high = low) over all pairs of two samples, and its standard error by DeLong.

    The error follows from the placement of each number among the other sample; it is NaN if either has one number.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([high, low]))
    high_ranks, low_ranks = np.split(ranks, [len(high)])
    # The rank among all, less the rank within its own sample, counts the other sample's numbers below, ties half.
    above = (high_ranks - rankdata(high_ranks)) / len(low)
    below = (low_ranks - rankdata(low_ranks)) / len(high)  # one minus the placement, with the same variance
    if min(len(high), len(low)) < 2:
        return float(above.mean()), math.nan
    # DeLong, DeLong & Clarke-Pearson (1988): the variance of a mean over pairs, from its components.
    return float(above.mean()), math.sqrt(above.var(ddof=1) / len(high) + below.var(ddof=1) / len(low))


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape} and labels {labels.shape}; give one of each for N examples")
    if np.isnan(scores).any():
        raise ValueError(
            f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN, first at index {np.isnan(scores).argmax()}; "
            "leave these examples out, or check the model"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels are {np.unique(labels)[:5]}, but must be 1 for anomalies and 0 for normal examples")
    anomalous = labels.astype(bool)
    if anomalous.all() or not anomalous.any():
        raise ValueError(
            f"{anomalous.sum()} of {len(labels)} examples are anomalies, but both classes are needed; "
            "add examples of the other"
        )
    return scores.astype(np.float64), anomalous
