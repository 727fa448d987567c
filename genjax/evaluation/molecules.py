"""Scores of a finished run's samples as molecules, where its data are texts that are molecules."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from genjax.capabilities import stop_token
from genjax.evaluation.context import Evaluation
from genjax.figures.texts import texts
from genjax.metrics import Result, canonical_smiles, mean_over_replicas, molecule_statistics, rdkit_version, unavailable

MOST_READ = 1_000  # of the training texts, to tell whether they are molecules
SHARES = {
    "validity": {"share of": "samples", "definition": "GuacaMol"},
    "uniqueness": {"share of": "valid samples", "definition": "MOSES"},
    "novelty": {"share of": "distinct valid samples", "definition": "MOSES"},
}


def molecules(evaluation: Evaluation, names: Sequence[str]) -> list[Result]:
    """Read samples as SMILES: how many are molecules, how many of these differ, and are not in the training set."""
    (name,) = names
    obstacle = _no_molecules(evaluation)
    if obstacle is not None:
        return [unavailable(name, obstacle)]
    batches = evaluation.batches("train", "molecules of train")
    training = set(canonical_smiles(_texts(evaluation, (batch["x"] for batch in batches))))
    told = [_results(evaluation, training, replica) for replica in evaluation.replicas]
    return [mean_over_replicas(same) for same in zip(*told, strict=True)]


def _results(evaluation: Evaluation, training: set[str | None], replica: int) -> list[Result]:
    samples = canonical_smiles(_texts(evaluation, evaluation.samples(replica)))
    values = molecule_statistics(samples, training)
    protocol = _sampling(evaluation) | {
        "generated": len(samples),
        "valid": values["valid"],
        "distinct": values["distinct"],
        "training": f"{len(evaluation.run.experiment.data.splits['train'])} of train",
        "RDKit": rdkit_version(),
    }
    return [
        Result(
            name=name,
            value=values[name],
            standard_error=values.get(f"{name}_standard_error"),
            protocol=share | protocol,
        )
        for name, share in SHARES.items()
    ]


def _no_molecules(evaluation: Evaluation) -> str | None:
    """Return why samples are not to be read as molecules; None where they are."""
    dataset = evaluation.run.experiment.data
    if dataset.tokenizer is None:
        return f"samples are no texts: {dataset.name!r} has no tokenizer"
    source = dataset.splits["train"]
    rows = np.linspace(0, len(source) - 1, min(len(source), MOST_READ)).astype(int)
    try:
        read = canonical_smiles(_texts(evaluation, [source.take(rows)["x"]]))
    except ImportError as missing:
        return str(missing)
    valid = len(read) - read.count(None)
    return None if 2 * valid > len(read) else f"only {valid} of {len(read)} training texts are molecules"


def _texts(evaluation: Evaluation, batches: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of batches of tokens, each up to the end of its first line."""
    tokenizer, stop = evaluation.run.experiment.data.tokenizer, stop_token(evaluation.run.model)
    assert tokenizer is not None
    for x in batches:
        for text in texts(tokenizer, np.asarray(x), stop):
            yield text.partition("\n")[0]


def _sampling(evaluation: Evaluation) -> dict[str, Any]:
    """Return the settings that samples were drawn with, the temperature in any case."""
    own = inspect.signature(evaluation.run.model.sample).parameters
    temperature = {"temperature": own["temperature"].default} if "temperature" in own else {}
    return temperature | {name: value for name, value in evaluation.arguments.items() if value is not None}
