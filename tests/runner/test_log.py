"""Rows survive a kill at any byte, remain strict JSON, and drop what a resumed run will write again."""

import fcntl
import json
import os
import select
import struct
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genjax.data.io import replace_file
from genjax.metrics.rows import format_value, metric_names
from genjax.runner import progress
from genjax.runner.log import MetricLog, read_rows
from genjax.runner.progress import Progress


def strict_lines(folder):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def events(folder):
    """Read all TensorBoard events of a run; each record is length, checksum, payload, checksum."""
    from tensorboardX.proto import event_pb2

    records = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("Q", data[:8])
            records.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return records


def test_a_row_is_on_disk_when_write_returns(tmp_path):
    log = MetricLog(tmp_path)
    log.write(100, {"loss": 1.25, "kl": np.float32(0.5)})
    assert strict_lines(tmp_path) == [{"step": 100, "loss": 1.25, "kl": 0.5}]
    log.write(200, {"loss": np.array([0.75])})
    assert strict_lines(tmp_path)[1] == {"step": 200, "loss": 0.75}
    assert log.rows == read_rows(tmp_path) == strict_lines(tmp_path)
    log.close()
    log.close()


def test_seeds_give_mean_sample_sd_and_list():
    log = MetricLog(None, seeds=(0, 1, 2, 3))
    log.write(1, {"loss": np.array([1.0, 3.0, 5.0, 7.0]), "learning_rate": 0.1})
    (row,) = log.rows
    assert row["loss"] == 4.0
    assert row["loss/sd"] == pytest.approx((20 / 3) ** 0.5)
    assert row["loss/seeds"] == [1.0, 3.0, 5.0, 7.0]
    assert row["learning_rate"] == 0.1
    assert set(row) == {"step", "loss", "loss/sd", "loss/seeds", "learning_rate"}
    assert metric_names(log.rows) == ["loss", "learning_rate"]


def test_a_metric_that_merely_ends_like_a_spread_keeps_its_place():
    assert metric_names([{"step": 1, "noise/sd": 2.0}, {"step": 2, "loss": 1.0}]) == ["noise/sd", "loss"]


@pytest.mark.parametrize("metrics", [{"loss": np.zeros(3)}, {"loss": np.zeros((2, 1))}, {"step": 1.0}])
def test_bad_metrics_are_refused_by_name(metrics):
    with pytest.raises(ValueError, match=next(iter(metrics))):
        MetricLog(None, seeds=(0, 1)).write(1, metrics)


def test_every_line_is_strict_json_and_numbers_come_back(tmp_path):
    log = MetricLog(tmp_path, seeds=(0, 1))
    log.write(1, {"a": np.array([np.nan, 1.0]), "b": np.array([np.inf, 2.0]), "c": -np.inf})
    log.close()
    (line,) = strict_lines(tmp_path)
    assert line["a"] == line["a/sd"] == "NaN"
    assert line["b"] == "Infinity"
    assert line["b/seeds"] == ["Infinity", 2.0]
    assert line["c"] == "-Infinity"
    (row,) = read_rows(tmp_path)
    np.testing.assert_equal(row, log.rows[0])
    assert row["c"] == -np.inf


@pytest.fixture(scope="module")
def three_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    log = MetricLog(folder)
    for step in (100, 200, 300):
        log.write(step, {"loss": step / 8})
    log.close()
    return log.rows, (folder / "metrics.jsonl").read_bytes()


def test_a_kill_at_any_byte_costs_the_torn_row_only(tmp_path, three_rows):
    rows, content = three_rows
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(content[:cut])
        assert read_rows(tmp_path) == rows[: sum(end <= cut for end in ends)]


@pytest.mark.parametrize(("resume_step", "kept"), [(0, 0), (99, 0), (100, 1), (250, 2), (300, 2)])
def test_resuming_drops_what_will_be_written_again(tmp_path, three_rows, resume_step, kept):
    rows, content = three_rows
    (tmp_path / "metrics.jsonl").write_bytes(content[:-4])  # the third row is torn
    log = MetricLog(tmp_path, resume_step=resume_step)
    assert log.rows == strict_lines(tmp_path) == rows[:kept]
    log.write(resume_step + 1, {"loss": 7.0})
    log.close()
    assert strict_lines(tmp_path) == [*rows[:kept], {"step": resume_step + 1, "loss": 7.0}]


def test_a_corrupt_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl line 2 .* delete that line"):
        read_rows(tmp_path)


def test_rows_of_no_folder_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = MetricLog(None)
    log.write(1, {"loss": 2.0})
    log.close()
    assert log.rows == [{"step": 1, "loss": 2.0}]
    assert list(tmp_path.iterdir()) == []
    assert read_rows(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the always full disk of Linux")
def test_a_full_disk_is_an_error_at_once(tmp_path):
    log = MetricLog(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        log.write(1, {"loss": 1.0})


def test_tensorboard_gets_scalars_and_hides_what_resuming_repeats(tmp_path):
    first = MetricLog(tmp_path, seeds=(0, 1))
    first.write(100, {"loss": np.array([1.0, 2.0])})
    first.write(200, {"loss": np.array([8.0, 9.0])})
    first.close()
    second = MetricLog(tmp_path, resume_step=100, seeds=(0, 1))
    second.write(200, {"loss": np.array([2.0, 4.0])})
    second.close()

    records = events(tmp_path)
    scalars = [(e.step, v.tag, v.simple_value) for e in records for v in e.summary.value if v.tag == "loss"]
    assert scalars == [(100, "loss", 1.5), (200, "loss", 8.5), (200, "loss", 3.0)]
    restarts = [e.step for e in records if e.session_log.status == e.session_log.START]
    assert restarts == [0, 101]
    assert [e.file_version for e in records if e.file_version] == ["brain.Event:2"] * 2


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_an_interrupted_replacement_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    replace_file(path, b"old")

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (98.31415, "98.31"),
        (np.array([2.0]), "2"),
        ([98.2, 98.4, 98.6], "98.40 ± 0.20"),
        ([1000.0, 1100.0, 1200.0], "1100 ± 100"),
        ([1e-7, 3e-7], "2e-07 ± 1.4e-07"),
        ([5.0, 5.0], "5 ± 0"),
        ([np.inf, -np.inf], "nan ± nan"),
    ],
)
def test_values_read_well(value, text):
    assert format_value(value) == text


def test_a_pipe_is_not_flooded(monkeypatch, capsys):
    now = SimpleNamespace(monotonic=lambda: now.seconds, seconds=0.0)
    monkeypatch.setattr(progress, "time", now)
    with Progress(1_500, initial=500, description="digits") as bar:
        for step in range(501, 1_501):
            now.seconds += 1 / 32
            bar.update(step, {"loss": 2.0 + step, "kl": 1.0})
        bar.message("wrote samples")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "digits: step 501 of 1,500, loss 503",
        "digits: step 821 of 1,500, 32 steps/s, 00:21 left, loss 823",  # ten seconds and 320 steps later
        "digits: step 1,141 of 1,500, 32 steps/s, 00:11 left, loss 1143",
        "digits: step 1,461 of 1,500, 32 steps/s, 00:01 left, loss 1463",
        "wrote samples",
        "digits: step 1,500 of 1,500, 32 steps/s, 00:00 left, loss 1502",
    ]


def test_disabled_is_silent(capsys):
    bar = Progress(10, disable=True)
    bar.update(10, {"loss": 1.0})
    bar.message("hello")
    bar.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"elbo": -1.0, "loss": 1.0, "validation/loss": 2.0}, "loss 1"),
        ({"d/loss": 1.0, "d/accuracy": 0.5, "g/loss": np.array([1.0, 2.0, 3.0])}, "d/loss 1, g/loss 2.0 ± 1.0"),
        ({"free_energy": 4.0, "overlap": 0.5, "size": 3.0}, "free_energy 4, overlap 0.5"),
    ],
)
def test_the_losses_are_shown(capsys, metrics, text):
    with Progress(10) as bar:
        bar.update(1, metrics)
    assert capsys.readouterr().err == f"step 1 of 10, {text}\n"


def test_validation_rows_leave_the_loss_in_place(capsys):
    with Progress(10) as bar:
        bar.update(1, {"loss": 3.0})
        bar.update(2, {"validation/loss": 4.0})
    assert capsys.readouterr().err.splitlines()[-1].endswith("loss 3")


def test_a_terminal_gets_a_bar_that_messages_do_not_break(monkeypatch):
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress(300, initial=100, description="digits") as bar:
            bar.update(200, {"loss": 1.5})
            bar.message("wrote samples")
            bar.update(300, {"loss": 0.5})
        terminal.flush()
        # One read of a terminal may return only part of what was written.
        output = b""
        while select.select([leader], [], [], 1.0)[0]:
            output += os.read(leader, 65_536)
    os.close(leader)
    output = output.decode().replace("\r", "\n").split("\n")
    output = [line.strip() for line in output if line.strip()]
    assert output[0].startswith("digits:  33%|") and "100/300" in output[0]
    assert "wrote samples" in output
    assert output[-1].startswith("digits: 100%|") and "steps/s, loss 0.5]" in output[-1]
