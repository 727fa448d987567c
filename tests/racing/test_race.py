"""A race from data to advice, and what is refused before anything is trained."""

import json
import types

import numpy as np
import pytest

from genjax import data
from genjax.racing import entrants
from genjax.racing import race as race_module
from genjax.racing.race import _names, race


def test_a_race_needs_an_empty_folder_and_methods_that_suit_the_data(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="which is not empty; choose another folder"):
        race("iris", 1.0, tmp_path)
    with pytest.raises(ValueError, match="'made' cannot race on iris; use vae, gan"):
        race("iris", 1.0, tmp_path / "out", methods=("made",))
    for needs, message in (
        (
            ("stable-training",),
            "a race does not tell about 'stable-training', because a race trains each model with one",
        ),
        (
            ("exact-likelihood", "reconstruction"),
            "none of vae, gan, .* meets exact-likelihood, reconstruction; leave out",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            race("iris", 1.0, tmp_path / "out", needs=needs)
    assert not (tmp_path / "out").exists()


def test_needs_that_depend_on_data_or_machine_are_refused_before_the_race(tmp_path, monkeypatch):
    for table, need, message in (
        (np.zeros((9_000, 3), np.float32), "small-data", r"its models are trained on 7,200 examples, and not on 2,000"),
        (np.zeros((100, 3), np.float32), "no-gpu", "its models are trained on NVIDIA H200, and not on a CPU; leave"),
    ):
        np.save(tmp_path / "table.npy", table)
        devices = [types.SimpleNamespace(device_kind="NVIDIA H200")]
        monkeypatch.setattr(race_module.jax, "devices", lambda devices=devices: devices)
        with pytest.raises(ValueError, match=f"a race does not tell about '{need}', because {message}"):
            race(str(tmp_path / "table.npy"), 1.0, tmp_path / "out", needs=(need,))
    assert not (tmp_path / "out").exists()


def test_needs_leave_out_who_cannot_meet_them():
    source = entrants.split(data.load("digits"))
    assert _names(source, (), ("exact-likelihood",)) == ("real_nvp", "maf", "made")
    assert _names(source, (), ("reconstruction",)) == ("vae",)
    assert _names(source, ("gan", "vae", "gan"), ("smooth-latent-space",)) == ("gan", "vae")
    assert "gan" not in _names(source, (), ("anomalies",))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--race", "10", "--data", "iris"), "--race is '10', but must be a time above 0 such as 90s, 10m or 1.5h"),
        (("--race", "0m", "--data", "iris"), "--race is '0m', but must be a time above 0"),
        (("--data", "nowhere"), "comparison.json; for data of your own, no data set or file 'nowhere'"),
        (("--race", "10m"), "--race needs --data, the name or the path of the data to race on"),
        (("--seeds", "2"), "--seeds is for a race; add --race 10m"),
        (("--data", "nowhere", "--race", "1s"), "no data set or file 'nowhere'"),
    ],
)
def test_bad_flags_end_in_one_line(genjax, flags, message):
    status, out, err = genjax("choose", *flags)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_a_race_the_table_of_similar_data_is_used_and_named(genjax):
    status, out, err = genjax("choose", "--data", "iris", "--need", "fast-sampling")
    assert status == 0, err
    reason = "measured on toy2d, the nearest table, because examples of iris have shape (4,); add --race 10m to measure"
    assert reason in out.splitlines()[0]


@pytest.mark.slow
def test_a_race_ends_in_advice_with_a_command_that_starts_the_winner(tmp_path, genjax):
    """Two entrants on a table; about a minute and a half."""
    out = tmp_path / "race"
    flags = ("--methods", "gmmn", "maf", "--race", "1s", "--seeds", "2", "--out", out, "--need", "best-quality")
    status, printed, err = genjax("choose", "--data", "iris", *flags)
    assert status == 0, err
    assert "MMD²: " in err
    lines = printed.splitlines()
    assert lines[0] == "best-quality: 2 candidates measured on iris"
    assert f"train {out}/experiment.py --method" in printed
    assert f"wrote {out}: open {out}/comparison/report.html" in err
    record = json.loads((out / "race.json").read_text())
    first = record["rungs"][0]["entrants"]
    assert {each["name"] for each in first} == {"gmmn", "maf"}
    assert all(len(each["scores"]) == 2 and each["steps"] == 300 for each in first)
    table = json.loads((out / "comparison" / "comparison.json").read_text())
    assert [entry["name"] for entry in table["entries"]][:2] == record["rungs"][-1]["kept"]
    dataset = entrants.split(data.load("iris"))
    assert table["protocol"]["examples"] == {name: len(source) for name, source in dataset.splits.items()}
