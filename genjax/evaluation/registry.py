"""Every metric that a finished run can be scored with, by name; what it cannot have is "n/a", with the reason.

Metrics ask for capabilities: likelihoods for ``log_prob`` and its kin, reconstruction for ``reconstruct``, latents for
a posterior or a codebook, classification for an exact ``log_prob`` by class, detection for any log-likelihood and data
with anomalies, molecules for texts that are some. Those that compare samples ask for nothing but ``sample``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities, core, metrics
from genjax.capabilities import GUARANTEES, conditioning, likelihoods, num_classes
from genjax.core import stream_key
from genjax.evaluation.context import Evaluation
from genjax.evaluation.latents import aggregated_posterior, latents
from genjax.evaluation.likelihood import Scorer, batches
from genjax.evaluation.molecules import molecules
from genjax.metrics import Result, mean_over_replicas, unavailable


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of metrics in their usual order, "all" written out.

    Raises:
      ValueError: for a metric that there is not.
    """
    unknown = [name for name in names if name not in METRICS and name != "all"]
    if unknown or not names:
        raise ValueError(f"there is no metric {unknown[0] if unknown else ''!r}; use all or {', '.join(METRICS)}")
    return tuple(name for name in METRICS if name in names or "all" in names)


def evaluate(evaluation: Evaluation, names: Sequence[str]) -> dict[str, Result]:
    """Return the results of metrics by name; one metric may give several."""
    found: list[Result] = []
    for function in dict.fromkeys(METRICS[name] for name in names):
        found += function(evaluation, [name for name in names if METRICS[name] is function])
    return {result.name: result for result in found}


def _likelihood(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Score the split with the log-likelihoods that were asked for and the model has, in every unit of the data's."""
    run, asked = evaluation.run, GUARANTEES if "likelihood" in names else names
    methods = [method for method in likelihoods(run.model) if method in asked]
    if not methods:
        return [unavailable(next(iter(asked)), f"{type(run.model).__name__} has none of {', '.join(asked)}")]
    units = metrics.likelihood_units(run.model, run.experiment.data, run.experiment.preprocess, evaluation.split)
    found = []
    for method in methods:
        draws = _draws(evaluation, method)
        scores = _scores(evaluation, method)
        protocol = {"examples": scores.shape[-1], "split": evaluation.split} | draws
        told = [
            [
                Result(name=method if unit == "nats" else f"{method}/{unit}", **_told(said, unit, protocol))
                for unit, said in units.convert(row, GUARANTEES[method][1]).items()
            ]
            for row in scores
        ]
        found += _joined(told)
    return found


def _joined(told: Sequence[Sequence[Result]]) -> list[Result]:
    """Return each result over the replicas that told it."""
    return [mean_over_replicas(same) for same in zip(*told, strict=True)]


def _told(said: Mapping[str, Any], unit: str, protocol: Mapping[str, Any]) -> dict[str, Any]:
    if said["value"] is None:
        return {"value": None, "reason": said["reason"]}
    units = "nats per example" if unit == "nats" else unit.replace("_", " ")
    return {
        "value": said["value"],
        "standard_error": said["standard_error"],
        "protocol": {"guarantee": said["guarantee"], "units": units, **protocol},
    }


def _draws(evaluation: Evaluation, method: str) -> dict[str, int]:
    """Return the counts of draws of a likelihood that is an estimate, or whose normalizer is one."""
    takes = inspect.signature(getattr(evaluation.run.model, method)).parameters
    names = ("num_samples", "num_particles") if method == "log_prob_estimate" else ("num_particles",)
    return {name: evaluation.likelihood_samples for name in names if name in takes}


def _scores(evaluation: Evaluation, method: str) -> np.ndarray:
    """Return nats of every example, shape (K, N) for K replicas; computed once, for all metrics."""
    if method not in evaluation.log_likelihoods:
        evaluation.log_likelihoods[method] = _scored(evaluation, method)
    return evaluation.log_likelihoods[method]


def _scored(evaluation: Evaluation, method: str) -> np.ndarray:
    run, placement, seeds = evaluation.run, evaluation.placement, len(evaluation.run.seeds)
    scorer = Scorer(
        run.model,
        method,
        preprocess=run.experiment.preprocess,
        placement=placement,
        num_seeds=seeds,
        batch_size=evaluation.batch_size,
        arguments=_draws(evaluation, method),
    )
    # The key is the same for every replica and every method: all see the same binarization.
    stream = stream_key(evaluation.key, "evaluate")
    keys = stream if seeds == 1 else jnp.broadcast_to(stream, (seeds,))
    variables = placement.replicate(jax.tree.map(np.asarray, run.variables))
    scores = scorer(variables, keys, evaluation.source, evaluation.progress(method, len(evaluation.source)))
    return scores.reshape(seeds, -1)


def _mean(scores: np.ndarray) -> tuple[float, float]:
    """Return mean and standard error; of infinite scores there is no error."""
    scores = scores.astype(np.float64)
    spread = scores.std(ddof=1) if scores.size > 1 and np.isfinite(scores).all() else float("nan")
    return float(scores.mean()), float(spread / np.sqrt(scores.size))


def _reconstruction(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Reconstruct the split: squared error of anything, PSNR and SSIM of images shown in [0, 1]."""
    del names
    if not isinstance(evaluation.run.model, capabilities.Reconstructs):
        return [unavailable("mse", f"{type(evaluation.run.model).__name__} has no reconstruct")]
    metric = _reconstruction_metric(evaluation)
    told = [_reconstructed(evaluation, metric, replica) for replica in evaluation.replicas]
    return _joined(told)


def _reconstructed(evaluation: Evaluation, metric: metrics.Reconstruction, replica: int) -> list[Result]:
    model: Any = evaluation.run.model
    reconstruct = jax.jit(model.reconstruct)
    variables, name = evaluation.run.replica(replica), f"reconstructions of seed {evaluation.run.seeds[replica]}"
    update, state = jax.jit(metric.update), metric.init()
    for number, batch in enumerate(evaluation.batches(evaluation.split, name)):
        key = core.step_key(stream_key(evaluation.key, "reconstructions"), number)
        pair = (batch["x"], reconstruct(variables, key, batch["x"], **conditioning(model, batch)))
        state = update(state, *map(evaluation.shown, pair))
    values = metric.compute(state)
    protocol = {"examples": int(values["count"]), "split": evaluation.split}
    said: dict[str, dict[str, Any]] = {"mse": {"units": "squared, mean over dimensions"}}
    if metric.window_size is not None:
        said |= {"psnr": {"units": "decibels, range 1"}, "ssim": {"window": metric.window_size}}
    return [
        Result(
            name=name,
            value=float(values[name]),
            standard_error=float(values[f"{name}_standard_error"]),
            protocol=units | protocol,
        )
        for name, units in said.items()
    ]


def _reconstruction_metric(evaluation: Evaluation) -> metrics.Reconstruction:
    """Return the metric; for images in [0, 1] with SSIM, whose window is the published one or the largest that fits."""
    x = evaluation.shown(next(evaluation.batches(evaluation.split, "reading"))["x"])
    image = x.ndim == 4 and bool((x >= 0).all() & (x <= 1).all())
    window = min(metrics.SSIM_WINDOW, *(side - 1 + side % 2 for side in x.shape[1:3])) if image else None
    return metrics.Reconstruction(data_range=1.0, window_size=window)


def _classification(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Classify the split by Bayes' rule: share of labels that are the most probable, and nats that they are worth."""
    del names
    obstacle = metrics.label_posterior_unavailable_reason(evaluation.run.model)
    if obstacle is not None:
        return [unavailable("label_accuracy", obstacle)]
    told = [_classified(evaluation, replica) for replica in evaluation.replicas]
    return _joined(told)


def _classified(evaluation: Evaluation, replica: int) -> list[Result]:
    model: Any = evaluation.run.model
    variables, name = evaluation.run.replica(replica), f"classification by seed {evaluation.run.seeds[replica]}"
    posterior = jax.jit(metrics.label_log_posterior, static_argnums=0)
    parts = [
        metrics.label_scores(posterior(model, variables, batch["x"]), batch["label"])
        for batch in evaluation.batches(evaluation.split, name)
    ]
    correct, nats = (np.concatenate(side) for side in zip(*parts, strict=True))
    protocol = {
        "guarantee": "exact",
        "prior": f"{num_classes(model)} equally likely classes",
        "draws of preprocessing": 1,
        "examples": len(nats),
        "split": evaluation.split,
    }
    said = {"label_accuracy": (correct, {}), "label_cross_entropy": (nats, {"units": "nats per example"})}
    results = []
    for name, (scores, units) in said.items():
        value, error = _mean(scores)
        results.append(Result(name=name, value=value, standard_error=error, protocol=units | protocol))
    return results


def _detection(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Tell the split's anomalies, label 1, from its normal examples by their log-likelihood."""
    del names
    obstacle = _no_detection(evaluation)
    if obstacle is not None:
        return [unavailable("auroc", obstacle)]
    method = likelihoods(evaluation.run.model)[0]
    label = np.concatenate(list(_labels(evaluation, evaluation.split)))
    told = []
    for seed, scores in zip(evaluation.run.seeds, _scores(evaluation, method), strict=True):
        if np.isnan(scores).any():
            return [unavailable("auroc", f"{np.isnan(scores).sum()} of {len(scores)} scores of seed {seed} are NaN")]
        values = metrics.detection_metrics(metrics.likelihood_score(scores), label)
        protocol = {
            "score": f"-{method}",
            "draws of preprocessing": 1,
            "examples": len(label),
            "prevalence": round(values["prevalence"], 4),
            "split": evaluation.split,
        }
        results = [
            Result(
                name="auroc",
                value=values["auroc"],
                standard_error=values["auroc_standard_error"],
                protocol=protocol | {"standard error": "DeLong"},
            ),
            Result(name="average_precision", value=values["average_precision"], protocol=protocol),
        ]
        told.append(results)
    return _joined(told)


def _no_detection(evaluation: Evaluation) -> str | None:
    """Return why there are no anomalies to detect, or nothing to detect them by; None where there are."""
    model, dataset = evaluation.run.model, evaluation.run.experiment.data
    if not likelihoods(model):
        return f"{type(model).__name__} has no log-likelihood"
    if num_classes(model) is not None:
        return "the model is given the label, which is what is to be detected"
    if "label" not in dataset.spec():
        return "the data has no labels; anomalies are those with label 1"
    if any(label.any() for label in _labels(evaluation, "train")):
        return "the training split is not of label 0 alone, the normal examples; see data.anomalies"
    present = {int(y) for label in _labels(evaluation, evaluation.split) for y in np.unique(label)}
    return None if present == {0, 1} else f"split {evaluation.split!r} has labels {sorted(present)}, not 0 and 1"


def _labels(evaluation: Evaluation, split: str) -> Iterator[np.ndarray]:
    source = evaluation.run.experiment.data.splits[split]
    return (batch["label"][:valid] for batch, valid in batches(source, evaluation.batch_size))


def _comparisons(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Compare the features of samples with those of the split."""
    if evaluation.run.experiment.data.tokenizer is not None:
        return [unavailable(name, _NO_FEATURES_OF_TEXT) for name in names]
    told = [
        metrics.compare(
            evaluation.reference.features,
            generated.features,
            names,
            key=stream_key(evaluation.key, "comparisons"),
            num_neighbours=evaluation.num_neighbours,
            protocol=evaluation.protocol,
            progress=evaluation.progress,
        )
        for generated in evaluation.generated
    ]
    return _joined(told)


def _inception_score(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Score the samples alone, by the classifier that the features are from."""
    (name,) = names
    if evaluation.network.name == "pixels":
        return [unavailable(name, "pixels classify nothing; use features=classifier:DATASET or inception:WEIGHTS")]
    splits = min(10, evaluation.count)
    key = stream_key(evaluation.key, "inception score")
    protocol = evaluation.protocol | {"splits": splits, "guarantee": "biased estimate"}
    del protocol["reference"]
    told = []
    for generated in evaluation.generated:
        assert generated.logits is not None
        values = metrics.inception_score(key, generated.logits, num_splits=splits)
        spread = {"sd_over_splits": round(float(values["inception_score_sd"]), 4)}
        told.append([Result(name=name, value=float(values["inception_score"]), protocol=protocol | spread)])
    return _joined(told)


def _class_accuracy(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Ask the classifier that the features are from whether samples are of the class that was asked for."""
    (name,), model = names, evaluation.run.model
    if num_classes(model) is None:
        return [unavailable(name, f"{type(model).__name__} has no classes to ask for")]
    classes, asked = evaluation.reference.logits, evaluation.labels
    if classes is None or classes.shape[-1] != num_classes(model):
        return [unavailable(name, f"{evaluation.network.name} has not the model's classes; use classifier:DATASET")]
    of_data = np.concatenate(list(_labels(evaluation, evaluation.split)))
    protocol = evaluation.protocol | {"guarantee": "estimate by a classifier"}
    protocol |= {f"accuracy on {evaluation.split}": round(_right(evaluation.reference, of_data).mean(), 4)}
    told = []
    for generated in evaluation.generated:
        value, error = _mean(_right(generated, asked))
        told.append([Result(name=name, value=value, standard_error=error, protocol=protocol)])
    return _joined(told)


def _right(outputs: metrics.Outputs, label: np.ndarray) -> np.ndarray:
    assert outputs.logits is not None
    return np.argmax(np.asarray(outputs.logits), axis=-1) == label


def _memorization(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Ask whether samples lie nearer to the training data than held-out data does."""
    (name,) = names
    if evaluation.split == "train":
        return [unavailable(name, "split is train, but memorization is told by data held out; use another split")]
    if evaluation.run.experiment.data.tokenizer is not None:
        return [unavailable(name, _NO_FEATURES_OF_TEXT)]
    train, held_out = evaluation.split_features("train").features, evaluation.reference.features
    told = []
    for generated in evaluation.generated:
        done = evaluation.progress(name, len(held_out) + evaluation.count)
        values = metrics.data_copying(train, held_out, generated.features, progress=done)
        said = {name: round(float(values[name]), 4) for name in ("z_score", "share_copies", "held_out_share_copies")}
        protocol = evaluation.protocol | {"guarantee": "estimate", "units": "0.5 is none, 1 copies"} | said
        error = float(values["standard_error"])
        told.append([Result(name=name, value=float(values["share_closer"]), standard_error=error, protocol=protocol)])
    return _joined(told)


def _parzen(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Score the split under windows around samples, their width chosen on the validation split; for old papers only."""
    (name,) = names
    splits = evaluation.run.experiment.data.splits
    if "validation" not in splits or evaluation.split == "validation":
        return [unavailable(name, "the bandwidth is chosen on a validation split, which must not be the one scored")]
    if evaluation.run.experiment.data.tokenizer is not None:
        return [unavailable(name, _NO_FEATURES_OF_TEXT)]
    validation, test = evaluation.split_features("validation").features, evaluation.reference.features
    searches = [
        metrics.parzen_bandwidth_search(generated.features, validation[:MOST_VALIDATION], PARZEN_BANDWIDTHS)
        for generated in evaluation.generated
    ]
    at_edge = [seed for seed, (_, within) in zip(evaluation.run.seeds, searches, strict=True) if not within]
    told = []
    for generated, (bandwidth, _) in zip(evaluation.generated, searches, strict=True):
        done = evaluation.progress(name, len(test))
        values = metrics.parzen_log_likelihood(generated.features, test, bandwidth=bandwidth, progress=done)
        guarantee = "estimate that ranks models wrongly (arXiv:1511.01844)"
        protocol = evaluation.protocol | {"units": "nats per example", "bandwidth": bandwidth, "guarantee": guarantee}
        if at_edge:
            protocol |= {"bandwidth search": f"ended at an edge for seeds {at_edge}"}
        value, error = (float(values[f"parzen_log_likelihood{part}"]) for part in ("", "_standard_error"))
        told.append([Result(name=name, value=value, standard_error=error, protocol=protocol)])
    return _joined(told)


_NO_FEATURES_OF_TEXT = "samples are text, which has no features here"
# For data in [0, 1]; of another scale they are continued.
PARZEN_BANDWIDTHS = tuple(float(width) for width in np.round(np.logspace(-1.5, 0.5, 21), 4))
MOST_VALIDATION = 1000  # examples that a bandwidth is chosen on
METRICS: Mapping[str, Callable[[Evaluation, Sequence[str]], list[Result]]] = {
    "likelihood": _likelihood,
    **dict.fromkeys(GUARANTEES, _likelihood),
    "reconstruction": _reconstruction,
    "latents": latents,
    "aggregated_posterior": aggregated_posterior,
    "classification": _classification,
    "detection": _detection,
    **dict.fromkeys(metrics.COMPARISONS, _comparisons),
    "inception_score": _inception_score,
    "class_accuracy": _class_accuracy,
    "memorization": _memorization,
    "parzen": _parzen,
    "molecules": molecules,
}
