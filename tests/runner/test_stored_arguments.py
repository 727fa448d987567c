"""Hyper-parameters come back from a run folder as they were, or are refused; modules beside an experiment are found."""

import enum
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import pytest

from genjax.runner import load_experiment_fn, load_run
from genjax.runner.load import load_experiment
from genjax.runner.stored_arguments import arguments_from_json, check_storable, to_json
from tests.running import TINY


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclass(frozen=True)
class Sizes:
    widths: tuple[int, ...] = (4,)
    file: Path | None = None


def experiment(
    colour: Colour | None = None,
    file: Path = Path(),
    sizes: Sizes = Sizes(),
    blocks: tuple[tuple[int, float], ...] = (),
    pair: tuple[int, str] = (1, "a"),
    rate: float = 0.1,
    limit: Optional[float] = None,  # noqa: UP045 - people write both
    names: list[str] = [],  # noqa: B006
    kind: Literal["a", "b"] = "a",
    either: int | str = 1,
    table: dict[str, tuple[int, ...]] = {},  # noqa: B006
    anything: Any = None,
): ...


@pytest.mark.parametrize(
    "arguments",
    [
        {"colour": Colour.RED, "file": Path("a b/ü.txt")},
        {"sizes": Sizes(widths=(3, 4), file=Path("x"))},
        {"blocks": ((1, 2.0), (3, math.inf)), "pair": (2, "NaN")},
        {"rate": math.nan, "limit": -math.inf},
        {"rate": 1, "limit": np.float32(0.5), "names": ["a", "b"], "kind": "b", "either": "1", "table": {"a": (1, 2)}},
        {"colour": None, "limit": None, "anything": True},
    ],
    ids=["enum and path", "dataclass", "nested tuples", "not finite", "others", "none"],
)
def test_arguments_come_back_as_they_were(arguments):
    check_storable(experiment, arguments)
    text = json.dumps(to_json(arguments), allow_nan=False)
    back = arguments_from_json(experiment, json.loads(text))
    assert repr(back) == repr(arguments) or back == arguments
    assert [type(value) for value in back.values() if not isinstance(value, float)] == [
        type(value) for value in arguments.values() if not isinstance(value, float | np.floating)
    ]


@pytest.mark.parametrize(
    "arguments",
    [{"anything": object()}, {"anything": (1, 2)}, {"anything": {1: 2}}, {"names": ("a",)}, {"rate": np.zeros(2)}],
    ids=["object", "tuple of no type", "keys", "tuple for list", "array"],
)
def test_arguments_that_would_not_come_back_are_refused(arguments):
    with pytest.raises(ValueError, match=r"which a run folder cannot store"):
        check_storable(experiment, arguments)


def test_arguments_of_another_type_than_stored_are_named():
    with pytest.raises(ValueError, match=r"argument colour of the run is 'GREEN', but must be"):
        arguments_from_json(experiment, {"colour": "GREEN"})


FILE = """
from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

import widths_of
from genjax import Experiment


class Speed(enum.Enum):
    SLOW = 1e-4
    FAST = 1e-3


@dataclasses.dataclass(frozen=True)
class Size:
    latent_dim: int = 2
    blocks: tuple[tuple[int, ...], ...] = ((3, 5),)


def experiment(
    speed: Speed = Speed.SLOW, size: Size = Size(), file: Path = Path("a"), clip: float = float("inf"), steps: int = 10
) -> Experiment:
    import tiny_of

    assert isinstance(file, Path) and isinstance(size, Size) and clip == float("inf")
    (widths,) = size.blocks
    return tiny_of.base.experiment(
        latent_dim=size.latent_dim, learning_rate=speed.value, widths=widths + widths_of.WIDTHS, steps=steps
    )
"""


@pytest.fixture
def project(tmp_path):
    """Return an experiment file with modules beside it."""
    (tmp_path / "project" / "tiny_of").mkdir(parents=True)
    (tmp_path / "project" / "own.py").write_text(FILE)
    (tmp_path / "project" / "widths_of.py").write_text("WIDTHS = (7,)\n")
    (tmp_path / "project" / "tiny_of" / "__init__.py").write_text("from tiny_of import base\n")
    shutil.copyfile(TINY, tmp_path / "project" / "tiny_of" / "base.py")
    return tmp_path / "project" / "own.py"


def test_a_run_keeps_its_arguments_and_its_modules(genjax, project, tmp_path):
    folder = tmp_path / "run"
    flags = ("--speed", "FAST", "--latent-dim", "3", "--file", "b c")
    status, _, err = genjax("train", project, "--workdir", folder, *flags)
    assert status == 0, err
    stored = json.loads((folder / "arguments.json").read_text())
    assert stored["arguments"] == {
        "speed": "FAST",
        "size": {"latent_dim": 3, "blocks": [[3, 5]]},
        "file": "b c",
        "clip": "Infinity",
        "steps": 10,
    }
    assert stored["modules"] == ["tiny_of/__init__.py", "tiny_of/base.py", "widths_of.py"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "plain.py").write_text(TINY.read_text() + "\nimport widths_of\nassert widths_of.WIDTHS == ()\n")
    (other / "widths_of.py").write_text("WIDTHS = ()\n")
    load_experiment_fn(other / "plain.py")  # a module of the same name beside another experiment
    shutil.rmtree(project.parent)
    assert load_run(folder).variables.params["decoder"]["Dense_3"]["kernel"].shape == (7, 16)
    assert load_experiment(folder).model.latent_dim == 3
    status, _, err = genjax("train", folder / "own.py", "--workdir", folder, "--resume", "--steps", "20")
    assert status == 0, err
    assert str(other) not in sys.path
    (folder / "widths_of.py").write_text("WIDTHS = (81,)\n")
    status, _, err = genjax("sample", folder, "-n", "2", "--checkpoint", "10")
    assert status == 1
    assert "does not fit the experiment: params/" in err
    assert "(7" not in err


def test_a_changed_module_is_not_resumed_silently(genjax, project, tmp_path):
    status, _, err = genjax("train", project, "--workdir", tmp_path / "run")
    assert status == 0, err
    (project.parent / "widths_of.py").write_text("WIDTHS = (91,)\n")
    status, _, err = genjax("train", project, "--workdir", tmp_path / "run", "--resume")
    assert status == 2
    assert "widths_of.py has changed since the run" in err
