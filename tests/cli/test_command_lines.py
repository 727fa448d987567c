"""Generated command lines end in success or in one line, never in a traceback."""

import dataclasses

import hypothesis
import jax
import pytest
from hypothesis import strategies as st

from genjax.cli.flags import flags_of_function, parse
from genjax.cli.options import TrainOptions
from genjax.runner import load_experiment_fn
from tests.cli.test_commands import refused
from tests.running import ROOT, TINY

BAD_FILES = {
    "syntax": ("def experiment(:\n", "syntax.py, line 1: invalid syntax"),
    "number": ("experiment = 3\n", "defines no function experiment"),
    "class": ("class experiment: pass\n", "defines no function experiment"),
    "positional": ("def experiment(width: int = 3, /): pass\n", "'width' of experiment() in"),
    "rest": ("def experiment(*widths: int): pass\n", "is a variadic positional one"),
    "unknown_type": (
        "from __future__ import annotations\ndef experiment(width: Wide = 3): pass\n",
        "name 'Wide' is not defined; import it",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_called(genjax, tmp_path, name):
    text, message = BAD_FILES[name]
    (tmp_path / f"{name}.py").write_text(text)
    assert message in refused(genjax, "train", tmp_path / f"{name}.py")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--latent-dim", 10**20), "latent_dim is 100000000000000000000, but must be a whole number of 64 bits"),
        (("--latent-dim", 10**10), "GB, but a device has"),
        (("--learning-rate", "nan"), "learning_rate is nan, but must be a finite number"),
        (("--learning-rate", "inf"), "learning_rate is inf, but must be a finite number"),
        (("--seeds", 10**6), "seeds is 1000000, but must be in [1, 1000]"),
        (("--seed", -1), "seed is -1, but must be in [0, 4294967295]"),
        (("--seed", 2**32), "seed is 4294967296, but must be"),
        (("--seed", 2**32 - 1, "--seeds", 2), "seed is 4294967295, but with seeds=2 must be at most 4294967294"),
        (("--mesh", "data=3"), "mesh is data=3, which takes 3 devices, but there are 2; use sizes whose product is 2"),
        (("--mesh", "rows=2"), "mesh is 'rows=2', but 'rows' is no axis; use data, fsdp and model"),
        (("--mesh", "model=2"), "mesh is model=2, but the model does not say which axes of its parameters to split"),
        (("--accumulate", 0), "accumulate is 0, but must be"),
        (("--process-id", 0), "--coordinator is missing; pass --coordinator, --num-processes and --process-id"),
        (("--coordinator", "localhost:1", "--num-processes", 0, "--process-id", 0), "num_processes is 0, but must be"),
    ],
)
def test_train_refuses_in_one_line(genjax, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(genjax, "train", TINY, *flags)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-n", 10**8 * 50), "GB of memory; draw fewer"),
        (("-n", 10**30), "but must be a whole number of 64 bits"),
        (("--batch-size", 0), "batch_size is 0, but must be at least 1"),
        (("--seed", 2**32), "seed is 4294967296, but must be in [0, 4294967295]"),
        (("--out", "x.csv"), "must end in .png, .npz, .npy or nothing, for a folder"),
    ],
)
def test_sample_refuses_in_one_line(genjax, tiny_run, flags, message):
    assert message in refused(genjax, "sample", tiny_run, *flags)


def test_a_rate_declared_positive_is_checked(genjax, tmp_path):
    (tmp_path / "rate.py").write_text(
        "from genjax.arguments import PositiveFloat\ndef experiment(learning_rate: PositiveFloat = 1e-3): pass\n"
    )
    line = refused(genjax, "train", tmp_path / "rate.py", "--learning-rate=-1")
    assert "learning_rate is -1.0, but must be above 0" in line


def test_an_error_in_a_file_is_told_with_its_place(genjax, tmp_path):
    (tmp_path / "bug.py").write_text("def experiment(width: int = 3):\n    return 1 / 0\n")
    status, _, err = genjax("train", tmp_path / "bug.py")
    assert status == 1
    assert "genjax: error: ZeroDivisionError: division by zero" in err
    assert "bug.py, line 2)" in err
    assert len(err.splitlines()) == 1


VALUES = st.one_of(
    st.sampled_from(
        ["", "-1", "0", "nan", "inf", "1e400", "None", "True", "all", "best", "x", "a b", "--", "é", "\x00"]
    ),
    st.integers(-(10**20), 0).map(str),
    st.integers(2**31, 10**20).map(str),
    st.text(st.characters(exclude_characters="/."), max_size=5),  # no paths outside the test's folder
)
FLAGS = {
    "train": (
        *("--latent-dim", "--learning-rate", "--steps", "--log-every", "--batch-size", "--widths", "--dataset"),
        *("--seed", "--seeds", "--workdir", "--resume", "--overwrite", "--coordinator", "--process-id", "--what"),
    ),
    "sample": ("-n", "--out", "--batch-size", "--seed", "--checkpoint", "--replica", "--mean", "--label", "--what"),
    "evaluate": (
        *("--metrics", "--split", "-n", "--features", "--num-neighbours", "--seed", "--checkpoint", "--json"),
        *("--record", "--mean", "--label"),
    ),
    "compare": (
        *("--floors", "--split", "-n", "--features", "--num-neighbours", "--seed", "--checkpoint", "--batch-size"),
        *("--speed-samples", "--speed-repeats", "--retry-failed", "--suite", "--what"),
    ),
    "judge": (
        *("--tasks", "--num-trials", "--num-checks", "--exposure", "--title", "--split", "--seed", "--checkpoint"),
        *("--batch-size", "--score", "--what"),
    ),
    "choose": ("--need", "--data", "--top", "--json", "--what"),
    "latent": ("--split", "--rows", "--steps", "--label", "--out", "--seed", "--checkpoint"),
    "list": ("--json", "--experiments", "--what"),
}
CHEAP = {  # settings without which a valid command would take long
    "train": ("--steps", "10", "--log-every", "10"),
    "sample": ("-n", "5"),
    "evaluate": ("-n", "20", "--likelihood-samples", "2"),
    "compare": ("-n", "20", "--likelihood-samples", "2", "--speed-samples", "3", "--speed-repeats", "1", "--floors"),
    "judge": ("--num-trials", "2"),
    "choose": (),
    "latent": ("--rows", "2"),
    "list": ("--experiments", "nowhere"),
}


@st.composite
def command_lines(draw):
    """Draw a command and up to three of its flags, mostly with values that it cannot have."""
    command = draw(st.sampled_from(sorted(FLAGS)))
    flags = draw(st.lists(st.tuples(st.sampled_from(FLAGS[command]), st.lists(VALUES, max_size=2)), max_size=3))
    return command, [word for flag, values in flags for word in (flag, *values)]


def check(genjax, run, tmp_path, line):
    command, flags = line
    target = {"train": [TINY], "list": [], "choose": []}.get(command, [run])
    status, _, err = genjax(command, *target, *CHEAP[command], *flags)
    assert status in (0, 1, 2), (line, err)
    assert "Traceback" not in err, (line, err)
    assert "GENJAX_TRACEBACK" not in err, (line, err)  # the line of an error that nobody foresaw
    if status:
        assert err.splitlines()[-1].startswith("genjax: error: "), (line, err)


SETTINGS = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "phases": (hypothesis.Phase.generate,),  # shrinking repeats slow commands, and a message shows the line
    "suppress_health_check": [hypothesis.HealthCheck.function_scoped_fixture],
}


@hypothesis.settings(max_examples=60, **SETTINGS)
@hypothesis.given(line=command_lines())
def test_command_lines_never_end_in_a_traceback(genjax, tiny_run, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    check(genjax, tiny_run, tmp_path, line)


@pytest.mark.slow
@hypothesis.settings(max_examples=500, **SETTINGS)
@hypothesis.given(line=command_lines())
def test_many_command_lines_never_end_in_a_traceback(genjax, tiny_run, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    check(genjax, tiny_run, tmp_path, line)


def test_processes_started_by_hand_are_connected(genjax, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments, **_: calls.append(arguments))
    by_hand = ("--coordinator", "localhost:1234", "--num-processes", 2, "--process-id", 1)
    common = ("--dataset", "nowhere", "--workdir", tmp_path / "run")
    for flags in (by_hand, ("--distributed",), ()):
        assert "no data set or file 'nowhere'" in refused(genjax, "train", TINY, *flags, *common)
    assert calls == [("localhost:1234", 2, 1), (None, None, None)]
    assert "--workdir is missing" in refused(genjax, "train", TINY, "--distributed")


def test_processes_that_cannot_be_connected_are_told(genjax, tmp_path, monkeypatch):
    def fail(*arguments, **_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    line = refused(genjax, "train", TINY, "--distributed", "--workdir", tmp_path / "run")
    assert "the processes cannot be connected (coordinator_address should be defined.); pass --coordinator" in line


@pytest.mark.parametrize(
    ("name", "flag", "source"),
    [
        ("gpt_chorales", "--path", "github.com/czhuang/JSB-Chorales-dataset"),
        ("gpt_qm9", "--path", "(QM9, CC0)"),
        ("diffusion_spoken_digits", "--path", "(CC BY-SA 4.0)"),
        ("wavenet_spoken_digits", "--path", "(CC BY-SA 4.0)"),
        ("nsf_anomalies", "--table", "(BSD-2-Clause)"),
    ],
)
def test_experiments_say_where_their_files_are_from(genjax, tmp_path, name, flag, source):
    line = refused(genjax, "train", ROOT / "experiments" / f"{name}.py", flag, tmp_path / "missing.npz")
    assert "no file" in line and source in line


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.py")), ids=lambda file: file.stem)
def test_experiments_refuse_negative_learning_rates(file):
    flags = flags_of_function(load_experiment_fn(file), TrainOptions)
    for field in dataclasses.fields(flags):
        if field.name.endswith("learning_rate"):
            with pytest.raises(ValueError, match=rf"{field.name} is -1\.0, but must be above 0"):
                parse("genjax train", [f"--{field.name.replace('_', '-')}=-1"], flags, TrainOptions)
