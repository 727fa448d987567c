"""Suites: what is trained, what goes on after a stop, what fails, and files that are refused."""

import dataclasses
import json
import re

import pytest

from genjax.comparison import suites
from genjax.comparison.suites import Suite, SuiteExperiment, find_suite, read_suite, train_suite
from genjax.comparison.table import Entry, Table
from tests.comparison.conftest import FLAGS
from tests.running import TINY

CONTENT = """
seeds = 2
seed = 7
[[experiment]]
file = "tiny.py"
flags = ["--steps", "20"]
[[experiment]]
file = "tiny.py"
flags = ["--dataset", "nothing"]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "tiny.py").write_bytes(TINY.read_bytes())
    file = tmp_path / "small.toml"
    file.write_text(CONTENT)
    return file


def test_a_file_is_read_beside_its_experiments(file):
    tiny = file.parent / "tiny.py"
    experiments = (
        SuiteExperiment(file=tiny, flags=("--steps", "20")),
        SuiteExperiment(file=tiny, flags=("--dataset", "nothing")),
    )
    assert read_suite(file) == Suite(experiments=experiments, seeds=2, seed=7)
    assert [experiment.name for experiment in experiments] == ["tiny_steps_20", "tiny_dataset_nothing"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = 2", "seeds = ", "small.toml is not TOML: Invalid value"),
        (
            "seeds = 2",
            "sedes = 2",
            "has 'sedes', but entries are experiment, extends, flags, seed, seeds, time, trials",
        ),
        ("seeds = 2", "seeds = 0", "seeds is 0, but must be at least 1"),
        ('file = "tiny.py"\nflags = ["--steps', 'path = "tiny.py"\nflags = ["--steps', "has 'path', but entries are"),
        ("tiny.py", "small.py", "small.py, which is not there; check its file"),
        (
            '"--dataset", "nothing"',
            '"--steps", "20"',
            "has tiny_steps_20 twice; leave one out, or give it another name",
        ),
        ("seeds = 2", 'trials = "--steps 3"', "has trials = '--steps 3', but must have a list"),
        ("seeds = 2", 'trials = ["--steps", "3"]', r"has trials = .*, but must have a list of lists, such as \[\["),
        ('flags = ["--steps", "20"]', 'trials = "chosen"', "has trials = 'chosen', but must have a list"),
        ("seeds = 2", 'time = "10m"', "has time, which sets the number of steps, but also the flag --steps; leave"),
        ("seeds = 2", "time = 10", "small.toml is '10', but must be a time above 0 such as 90s, 10m or 1.5h"),
        (CONTENT, "seeds = 2", r"has no \[\[experiment\]\]; name files of experiments"),
    ],
)
def test_files_that_are_no_suites_are_refused(file, old, new, message):
    assert old in CONTENT
    file.write_text(CONTENT.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_suite(file)


def test_a_suite_extends_another_with_other_settings(file):
    base = read_suite(file)
    other = file.with_name("other.toml")
    other.write_text(
        'extends = "small.toml"\nseed = 9\nflags = ["--log-every", "5"]\ntrials = [[], ["--steps", "3"]]\n'
    )
    suite = read_suite(other)
    assert (suite.seed, suite.seeds) == (9, base.seeds)
    assert [each.flags for each in suite.experiments] == [
        ("--log-every", "5", *each.flags) for each in base.experiments
    ]
    assert {each.trials for each in suite.experiments} == {((), ("--steps", "3"))}
    assert [each.label for each in suite.experiments] == [each.label for each in base.experiments]
    more = file.with_name("more.toml")
    more.write_text('extends = "small.toml"\n[[experiment]]\nfile = "tiny.py"\nname = "new"\n')
    assert read_suite(more).experiments[:-1] == base.experiments
    assert read_suite(more).experiments[-1].label == "new"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('extends = "gone.toml"', r"extends .*gone\.toml, which does not exist; name a suite"),
        ('extends = "other.toml"', r"extends .*other\.toml, which extends another suite itself"),
        ('flags = ["--steps", "3"]', "has flags, but extends no suite whose experiments would take them; add extends"),
    ],
)
def test_what_cannot_be_extended_is_refused(file, content, message):
    other = file.with_name("other.toml")
    other.write_text(f"{content}\n")
    with pytest.raises(ValueError, match=message):
        read_suite(other)


def test_a_suite_takes_the_trials_that_a_table_has_chosen(file, monkeypatch):
    file.write_text(f'trials = [[], ["--learning-rate", "0.1"]]\n{CONTENT}')
    commands = ("genjax train tiny.py --steps 20 --learning-rate 0.1", "genjax train tiny.py --dataset nothing")
    names = ("tiny_steps_20", "tiny_dataset_nothing")
    entries = [
        Entry(name=name, kind="model", model="VAE", command=command)
        for name, command in zip(names, commands, strict=True)
    ]
    table = Table(columns=(), entries=tuple(entries), cells=())
    monkeypatch.setattr(suites, "read_table", {"small": table}.get)
    other = file.with_name("other.toml")
    other.write_text('extends = "small.toml"\ntrials = "chosen"\n')
    assert [each.trials for each in read_suite(other).experiments] == [(("--learning-rate", "0.1"),), ((),)]
    monkeypatch.setattr(suites, "read_table", lambda name: dataclasses.replace(table, entries=tuple(entries[:1])))
    with pytest.raises(
        ValueError, match="the table small has chosen no trial of tiny_dataset_nothing; list its trials"
    ):
        read_suite(other)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"trials = 'chosen' needs the table of small, but .* use digits, toy2d, or"):
        read_suite(other)


def test_chosen_trials_are_found_by_label_and_without_the_steps_of_a_time(file, monkeypatch):
    file.write_text(
        'time = "1m"\ntrials = [[], ["--learning-rate", "0.1"]]\n[[experiment]]\nfile = "tiny.py"\nname = "a VAE"\n'
    )
    command = "genjax train tiny.py --learning-rate 0.1 --steps 700"
    table = Table(columns=(), entries=(Entry(name="a VAE", kind="model", model="VAE", command=command),), cells=())
    monkeypatch.setattr(suites, "read_table", {"small": table}.get)
    other = file.with_name("other.toml")
    other.write_text('extends = "small.toml"\ntrials = "chosen"\n')
    (experiment,) = read_suite(other).experiments
    assert experiment.trials == (("--learning-rate", "0.1"),)


def test_suites_are_found_by_name_or_path(file, monkeypatch):
    folder = file.parent / suites.FOLDER
    folder.mkdir(parents=True)
    monkeypatch.chdir(file.parent)
    with pytest.raises(FileNotFoundError, match=r"digits.toml; use the path of a .toml file"):
        find_suite("digits")
    (folder / "digits.toml").write_text(CONTENT)
    assert find_suite("digits") == suites.FOLDER / "digits.toml"
    assert find_suite(str(file)) == file
    with pytest.raises(FileNotFoundError, match=r"small.toml; use digits"):
        find_suite("small")


def test_a_suite_is_trained_once_goes_on_after_a_kill_and_has_a_row_for_what_fails(genjax, file):
    out = file.parent / "out"
    command = ("compare", "--suite", file, "--out", out, "--floors", "gaussian", *FLAGS)
    status, _, err = genjax(*command)
    assert status == 0, err
    assert "trained 0 of 2: now tiny_steps_20" in err
    assert "tiny: step 20 of 20" in err
    table = json.loads((out / "comparison.json").read_text())
    assert [entry["name"] for entry in table["entries"]] == ["tiny", "tiny_dataset_nothing", "floor: gaussian"]
    assert table["entries"][0]["seeds"] == [7, 8]
    reasons = {cell["reason"] for cell in table["cells"] if cell["entry"] == "tiny_dataset_nothing"}
    (reason,) = reasons
    assert reason.startswith("training failed: ") and "nothing" in reason
    assert reason in (out / "report.html").read_text().replace("&#39;", "'")
    assert re.search("nothing", (out / suites.LOGS / "tiny_dataset_nothing.log").read_text())
    status, _, err = genjax(*command)
    assert (status, "trained" in err) == (0, False)
    run = out / suites.RUNS / "tiny_steps_20"
    for name in ("results.json", "weights.safetensors"):  # as if killed before its end
        (run / name).unlink()
    status, _, err = genjax(*command)
    assert (status, "trained 0 of 1: now tiny_steps_20" in err) == (0, True)
    assert (run / "results.json").is_file()
    assert "--resume" in json.loads((run / "environment.json").read_text())["command"].split()


def test_a_suite_with_a_time_trains_as_many_steps_as_fill_it(file, monkeypatch, tmp_path):
    """Each step takes 1 / 450 s, as the log says."""
    monkeypatch.setattr(suites, "SPEED_STEPS", 20)
    monkeypatch.setattr(
        suites, "read_rows", lambda folder: [{"steps_per_second": 450.0}, {"steps_per_second": 9.0}, {"loss": 1.0}]
    )
    file.write_text('time = "0.5s"\ntrials = [[], ["--learning-rate", "0.1"]]\n[[experiment]]\nfile = "tiny.py"\n')
    for num_trained in (2, 0):
        lines = []
        (trained,) = train_suite(read_suite(file), tmp_path / "out", announce=lines.append)
        assert list(trained.runs) == ["--steps 200", "--learning-rate 0.1 --steps 200"]
        assert sum(line.startswith("trained") for line in lines) == num_trained
    for folder in trained.runs.values():
        assert json.loads((folder / "arguments.json").read_text())["arguments"]["steps"] == 200
    speed = tmp_path / "out" / suites.SPEEDS / "tiny_learning-rate_0.1" / "arguments.json"
    arguments = json.loads(speed.read_text())["arguments"]
    assert (arguments["steps"], arguments["learning_rate"]) == (20, 0.1)
    file.write_text(file.read_text().replace("0.5s", "2s"))
    with pytest.raises(ValueError, match=r"runs/tiny is a run of 200 steps, but 2 s of training are 900 steps; choose"):
        train_suite(read_suite(file), tmp_path / "out")
    file.write_text(file.read_text().replace('time = "2s"\n', ""))
    with pytest.raises(ValueError, match="out holds runs of a suite with time, but this one has none; choose another"):
        train_suite(read_suite(file), tmp_path / "out")


def test_what_cannot_be_trained_for_its_speed_has_failed(file, tmp_path):
    file.write_text('time = "10m"\n[[experiment]]\nfile = "tiny.py"\nflags = ["--dataset", "nothing"]\n')
    (trained,) = train_suite(read_suite(file), tmp_path / "out", announce=lambda line: None)
    assert not trained.runs
    assert "nothing" in trained.failures[""]


def process_that_ends(status, *lines):
    """Return a stand-in for ``subprocess.Popen``."""

    class Process:
        stderr, returncode = lines, status

        def __init__(self, *args, **settings):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

    return Process


@pytest.mark.parametrize("status", [130, -2, 143])
def test_a_signal_ends_the_suite_and_is_no_failure(file, monkeypatch, tmp_path, status):
    monkeypatch.setattr(suites.subprocess, "Popen", process_that_ends(status, "genjax: interrupted\n"))
    with pytest.raises(KeyboardInterrupt):
        train_suite(read_suite(file), tmp_path / "out", announce=lambda line: None)
    assert not list((tmp_path / "out" / suites.LOGS).glob("*.failed"))


@pytest.mark.parametrize("status", [137, -9])
def test_a_process_that_is_killed_has_failed(file, monkeypatch, tmp_path, status):
    monkeypatch.setattr(suites.subprocess, "Popen", process_that_ends(status))
    trained, *_ = train_suite(read_suite(file), tmp_path / "out", announce=lambda line: None)
    assert trained.failures == {"": "SIGKILL ended it, often for lack of memory"}


def test_failed_experiments_are_tried_again_if_asked(file, tmp_path):
    suite = Suite(experiments=read_suite(file).experiments[1:])
    for retry_failed, expected in ((False, 1), (False, 0), (True, 1)):
        lines = []
        (trained,) = train_suite(suite, tmp_path / "out", retry_failed=retry_failed, announce=lines.append)
        assert trained.name == "tiny_dataset_nothing" and not trained.runs and list(trained.failures) == [""]
        assert sum(line.startswith("trained") for line in lines) == expected


def test_runs_and_a_suite_exclude_each_other(genjax, file, tiny_run):
    status, _, err = genjax("compare", tiny_run, "--suite", file)
    assert (status, err) == (2, f"genjax: error: --suite is {file}, but runs are named too; use one of them\n")
