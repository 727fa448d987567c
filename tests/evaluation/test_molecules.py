"""Validity, uniqueness and novelty of molecules from a model with known samples."""

from __future__ import annotations

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.core import Variables
from genjax.learners import Learner, TrainState
from genjax.runner import Experiment, Run

pytest.importorskip("rdkit", reason='molecules are read by RDKit: pip install "genjax-models[molecules]"')

TRAINING = ("CCO", "CC", "C1CC1", "C")
SAMPLES = ("OCC", "C1", "CCCC", "", "C=C")
TRACES = []


@dataclasses.dataclass(frozen=True)
class Reciter:
    """A model that returns the same lines in every batch."""

    lines: tuple[tuple[int, ...], ...]
    stop_token: int | None

    def init(self, key, batch):
        del key, batch
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples, *, temperature: float = 1.0):
        del variables, key, temperature
        TRACES.append(num_samples)
        return jnp.asarray(self.lines)[:num_samples]


@pytest.fixture
def run_of(tmp_path):
    """Return a function that makes runs with known training texts and samples; any token may follow the stop token."""

    def make(samples=SAMPLES, *, training=TRAINING, ends=True, seeds=(0,)):
        (tmp_path / "known.txt").write_text("\n".join(training))
        dataset = data.lines(tmp_path / "known.txt", tokenizer=data.Characters("\n1=CO"), length=9, validation=0)
        filled = [(text + "\n").ljust(9, "C" if ends else "\n") for text in samples]
        lines = tuple(tuple(dataset.tokenizer.encode(text).tolist()) for text in filled)
        return finished(Reciter(lines, data.end_of_line(dataset) if ends else None), dataset, seeds)

    return make


def finished(model, dataset, seeds=(0,)):
    learner = Learner(init=lambda key, batch: TrainState(*[None] * 5), step=lambda state, key, batch: (state, {}))
    experiment = Experiment(model=model, data=dataset, learner=learner, steps=1, batch_size=1)
    return Run(experiment=experiment, variables=Variables({}, {}), seeds=seeds, step=1, rows=(), folder=None)


def scores(run, **settings):
    settings = {"split": "train", "num_samples": 12, "batch_size": 5} | settings
    return run.evaluate(jax.random.key(0), metrics=["molecules"], **settings)


@pytest.mark.parametrize("ends", [True, False], ids=["stop", "filled up"])
def test_samples_are_read_up_to_their_ends_and_drawn_by_one_program(run_of, ends):
    """12 samples in batches of 5: 3 + 3 + 1 are valid, 3 of these distinct, and all but ethanol novel."""
    TRACES.clear()
    results = scores(run_of(ends=ends))
    assert TRACES == [5]
    assert {name: result.value for name, result in results.items()} == {
        "validity": 7 / 12,
        "uniqueness": 3 / 7,
        "novelty": 2 / 3,
    }
    np.testing.assert_allclose(results["validity"].standard_error, np.std([1] * 7 + [0] * 5, ddof=1) / 12**0.5)
    protocol = dict(results["novelty"].protocol)
    assert protocol.pop("RDKit")
    assert protocol == {
        "share of": "distinct valid samples",
        "definition": "MOSES",
        "temperature": 1.0,
        "generated": 12,
        "valid": 7,
        "distinct": 3,
        "training": "4 of train",
    }


def test_replicas_and_the_temperature_are_told(run_of):
    validity = scores(run_of(seeds=(0, 1)), temperature=0.5)["validity"]
    assert (validity.replicas, validity.sd) == ((7 / 12, 7 / 12), 0)
    assert validity.protocol["temperature"] == 0.5


def test_nothing_valid_is_told_as_such(run_of):
    results = scores(run_of(("C1",) * 5))
    assert results["validity"].value == 0
    assert [results[name].as_dict()["value"] for name in ("uniqueness", "novelty")] == [None, None]


def test_only_molecules_are_read_as_some(run_of, monkeypatch):
    letters = scores(run_of(training=("C1O", "O1", "CO", "C=")))["molecules"]
    assert (letters.value, letters.reason) == (None, "only 1 of 4 training texts are molecules")
    numbers = data.Dataset(name="numbers", splits={"train": data.ArraySource({"x": np.zeros((3, 2), np.float32)})})
    assert "'numbers' has no tokenizer" in scores(finished(Reciter((), None), numbers))["molecules"].reason
    monkeypatch.setitem(sys.modules, "rdkit", None)
    assert "genjax-models[molecules]" in scores(run_of())["molecules"].reason
