"""Anomaly detection on tables: neural spline flow, energy, scikit-learn's isolation forest, and a Gaussian.

    python experiments/benchmarks/anomalies.py [--json] [--tables TABLE.npz ...] [--repeats SEEDS]

All are trained on the same standardized normal rows, and separate the anomalies of the test split from its normal rows:
area under the ROC curve, mean ± sd over seeds. The flow is ``experiments/nsf_anomalies.py`` and the energy
``experiments/energy_anomalies.py``, unchanged, with their seeds trained in parallel; the forest has scikit-learn's
default settings; the Gaussian has the full covariance of the rows, plus one ten-thousandth of their variance, and no
seeds. The default table is breast cancer from scikit-learn.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np
from report import arguments

sys.path.insert(0, str(Path(__file__).parents[1]))

import energy_anomalies
import nsf_anomalies

from genjax import Experiment, metrics
from genjax.runner import train

RIDGE = 1e-4  # avoids a singular covariance of linearly dependent columns


def of_model(experiment: Experiment, seeds: int) -> list[float]:
    """Return the AUROC of each seed."""
    run = train(experiment, seeds=seeds)
    return list(run.evaluate(jax.random.key(0), metrics=["detection"])["auroc"].replicas)


def of_forest(normal: np.ndarray, x: np.ndarray, label: np.ndarray, seeds: int) -> list[float]:
    """Return the AUROC of each seed."""
    from sklearn.ensemble import IsolationForest

    forests = [IsolationForest(random_state=seed).fit(normal) for seed in range(seeds)]
    return [metrics.detection_metrics(-forest.score_samples(x), label)["auroc"] for forest in forests]


def of_gaussian(normal: np.ndarray, x: np.ndarray, label: np.ndarray) -> list[float]:
    """Return the AUROC of the Mahalanobis distance."""
    centre, covariance = normal.mean(axis=0), np.cov(normal.T) + RIDGE * np.eye(normal.shape[1])
    offset = (x - centre).astype(np.float64)
    distance = np.sum(offset * np.linalg.solve(covariance, offset.T).T, axis=1)
    return [metrics.detection_metrics(distance, label)["auroc"]]


def main() -> None:
    """Run the benchmark and print its rows."""
    tables = {"nargs": "+", "default": ["breast_cancer"], "help": ".npz files with X and y, or breast_cancer"}
    options = arguments(__doc__ or "", repeats=5, tables=tables)
    for table in options.tables:
        splits = nsf_anomalies.read(table).splits
        normal, test = (
            np.asarray(splits[split].take(np.arange(len(splits[split])))["x"]) for split in ("train", "test")
        )
        label = np.asarray(splits["test"].take(np.arange(len(test)))["label"])
        results = {
            "neural spline flow": of_model(nsf_anomalies.experiment(table=table), options.repeats),
            "energy": of_model(energy_anomalies.experiment(table=table), options.repeats),
            "isolation forest": of_forest(normal, test, label, options.repeats),
            "Gaussian": of_gaussian(normal, test, label),
        }
        shape = f"{len(normal)} x {normal.shape[1]} normal rows, {int(label.sum())} anomalies of {len(test)} in test"
        for method, values in results.items():
            row = {
                "table": Path(table).stem,
                "method": method,
                "auroc": np.mean(values),
                "sd": np.std(values, ddof=1) if len(values) > 1 else None,
            }
            if options.json:
                print(json.dumps(row | {"data": shape}))
            else:
                spread = "" if row["sd"] is None else f" ± {row['sd']:.3f}"
                print(f"{row['table']:<16} {method:<20} {row['auroc']:.3f}{spread}   {shape}", flush=True)


if __name__ == "__main__":
    main()
