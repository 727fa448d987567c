"""Accuracy of a linear classifier on the codes of a model that was trained without labels.

Multinomial logistic regression on standardized codes, with unit weight decay; Guillaume Alain and Yoshua Bengio 2016,
arXiv:1610.01644, call it a linear probe.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import numpy as np

from genjax.capabilities import Encodes, Quantizes, conditions, supports
from genjax.compilation import jit
from genjax.core import step_key, stream_key
from genjax.data import ArraySource, Source, batches, random_examples
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, unavailable
from genjax.monitoring.latent_usage import autoencoder_of

MAX_EXAMPLES = 10_000  # of the training split
MAX_ITERATIONS = 2_000


def no_linear_probe(evaluation: Evaluation) -> str | None:
    """Return the reason why a model has no codes to classify, or None if it has."""
    model: Any = evaluation.model
    if not supports(model, Encodes):
        return f"{evaluation.model_name} has no encode"
    if conditions(model):
        return "the model is conditioned, and its codes need not contain its conditions"
    if "learning_rate" in inspect.signature(model.encode).parameters:
        return f"{evaluation.model_name} finds the codes of examples by optimization, too slow for a probe"
    if supports(autoencoder_of(model), Quantizes):
        return f"codes of {evaluation.model_name} are indices, which have no linear functions"
    if "label" not in evaluation.dataset.spec():
        return "the data has no labels"
    if len(np.unique(evaluation.labels("train"))) < 2:
        return "all training examples have one label"
    if evaluation.split == "train":
        return "split is 'train', but a probe needs held-out data; use another split"
    return None


def linear_probe(evaluation: Evaluation, index: int) -> list[Result]:
    """Return the accuracy on the split of a linear classifier fitted to codes of at most 10,000 training examples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = random_examples(stream_key(evaluation.key, "probe"), evaluation.dataset.splits["train"], MAX_EXAMPLES)
    train = ArraySource(chosen)
    codes, held_out = (
        _codes(evaluation, index, source, split)
        for source, split in ((train, "train"), (evaluation.source, evaluation.split))
    )
    if not (np.isfinite(codes).all() and np.isfinite(held_out).all()):
        return [unavailable("probe_accuracy", f"codes of seed {evaluation.seeds[index]} are not finite")]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    probe.fit(codes, train.arrays["label"])
    labels = evaluation.labels(evaluation.split)
    accuracy = float(probe.score(held_out, labels))
    protocol = {"probe fitted to": f"{len(train)} of train", "examples": len(labels), "split": evaluation.split}
    error = (accuracy * (1 - accuracy) / len(labels)) ** 0.5
    return [Result(name="probe_accuracy", value=accuracy, standard_error=error, protocol=protocol)]


def _codes(evaluation: Evaluation, index: int, source: Source, split: str) -> np.ndarray:
    """Return the codes of examples, float32 (N, D)."""
    model: Any = evaluation.model
    variables, preprocess, encode = evaluation.replica(index), jit(evaluation.preprocess), jit(model.encode)
    advance = evaluation.progress(f"codes of {split} for seed {evaluation.seeds[index]}", len(source))
    parts = []
    for number, (batch, valid) in enumerate(batches(source, min(evaluation.batch_size, len(source)))):
        x = preprocess(step_key(stream_key(evaluation.key, split), number), jax.tree.map(np.asarray, batch))["x"]
        parts.append(np.asarray(encode(variables, x), np.float32)[:valid].reshape(valid, -1))
        advance(valid)
    return np.concatenate(parts)
