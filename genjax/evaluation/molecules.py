"""Validity, uniqueness and novelty of samples as molecules, if the data are SMILES."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from genjax.capabilities import stop_token
from genjax.core import stream_key
from genjax.data import decode_texts, random_examples
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result, canonical_smiles, molecule_statistics, rdkit_version
from genjax.metrics.result import results_of

MAX_READ = 1_000  # training texts that decide whether the data are molecules
SHARES = {
    "validity": {"share of": "samples", "definition": "GuacaMol"},
    "uniqueness": {"share of": "valid samples", "definition": "MOSES"},
    "novelty": {"share of": "distinct valid samples", "definition": "MOSES"},
}


def no_molecules(evaluation: Evaluation) -> str | None:
    """Return the reason why samples cannot be read as molecules, or None if they can."""
    dataset = evaluation.dataset
    if dataset.tokenizer is None:
        return f"samples are not texts: {dataset.name!r} has no tokenizer"
    read = random_examples(stream_key(evaluation.key, "molecules"), dataset.splits["train"], MAX_READ)
    try:
        smiles = canonical_smiles(_texts(evaluation, [read["x"]]))
    except ImportError as error:
        return str(error)
    valid = len(smiles) - smiles.count(None)
    return None if 2 * valid > len(smiles) else f"only {valid} of {len(smiles)} training texts are molecules"


def molecules(evaluation: Evaluation, index: int) -> list[Result]:
    """Read samples as SMILES: the shares that are valid, unique and absent from the training set."""
    samples = canonical_smiles(_texts(evaluation, evaluation.samples(index)))
    values = molecule_statistics(samples, _training_molecules(evaluation))
    protocol = _sampling_settings(evaluation) | {
        "generated": len(samples),
        "valid": values["valid"],
        "distinct": values["distinct"],
        "training": f"{len(evaluation.dataset.splits['train'])} of train",
        "RDKit": rdkit_version(),
    }
    return results_of(values, {name: share | protocol for name, share in SHARES.items()})


@functools.lru_cache(maxsize=1)
def _training_molecules(evaluation: Evaluation) -> set[str | None]:
    batches = evaluation.batches("train", "molecules of train")
    return set(canonical_smiles(_texts(evaluation, (batch["x"] for batch in batches))))


def _texts(evaluation: Evaluation, batches: Iterable[Any]) -> Iterator[str]:
    """Yield the texts of batches of tokens; only the first line of each counts."""
    tokenizer, stop = evaluation.dataset.tokenizer, stop_token(evaluation.model)
    assert tokenizer is not None
    for x in batches:
        for text in decode_texts(tokenizer, np.asarray(x), stop):
            yield text.partition("\n")[0]


def _sampling_settings(evaluation: Evaluation) -> dict[str, Any]:
    """Return the settings of ``sample``, with the temperature even if it has its default."""
    parameters = inspect.signature(evaluation.model.sample).parameters
    temperature = {"temperature": parameters["temperature"].default} if "temperature" in parameters else {}
    return temperature | {name: value for name, value in evaluation.sample_kwargs.items() if value is not None}
