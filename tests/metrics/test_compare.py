"""Results and their protocols, and the command that compares samples from any tool."""

from __future__ import annotations

import json
from collections import Counter

import jax
import numpy as np
import pytest

from genjax import metrics
from genjax.metrics.__main__ import main
from genjax.metrics.result import Result, mean_over_replicas, table, unavailable


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return files, .npz and .npy, of two samples in three dimensions that are far apart in one."""
    folder, rng = tmp_path_factory.mktemp("samples"), np.random.default_rng(0)
    real, generated = rng.normal(size=(60, 3)), rng.normal(size=(50, 3)) + np.array([2.0, 0, 0])
    np.savez(folder / "real.npz", x=real)
    np.save(folder / "generated.npy", generated)
    return folder / "real.npz", folder / "generated.npy"


def test_command_prints_every_number_with_its_protocol(files, capsys):
    assert main([str(file) for file in files] + ["--json"]) == 0
    captured = capsys.readouterr()
    entries = json.loads(captured.out)
    names = ["frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "mmd2"]
    assert list(entries) == [*names, "protocol"]
    x, y = np.load(files[0])["x"], np.load(files[1])
    expected = metrics.frechet_distance(x, y)["frechet_distance"]
    np.testing.assert_allclose(entries["frechet_distance"], expected, rtol=1e-6)
    np.testing.assert_allclose(entries["mmd2"], metrics.mmd_squared(x, y)["mmd2"], rtol=1e-6)
    protocol = entries["protocol"]
    assert protocol["features"] == "pixels"
    assert protocol["reference"] == f"60 of {files[0]}"
    assert protocol["generated"] == f"50 of {files[1]}"
    assert protocol["seed"] == 0
    assert protocol["precision"] == {"guarantee": "biased estimate", "num_neighbours": 5}
    assert protocol["kernel_distance"]["standard_error"] > 0
    assert "kernel distance" in captured.err  # a progress bar


def test_command_prints_a_table(files, capsys):
    assert main([*map(str, files), "--metrics", "sliced_wasserstein", "classifier_test", "--num-neighbours", "3"]) == 0
    out = capsys.readouterr().out
    assert "sliced_wasserstein" in out
    assert "classifier_accuracy" in out
    assert "p value" in out
    assert "60 of" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        (b"not an archive", "neither .npz nor .npy of numbers; write it with numpy.savez"),
        ({"y": np.zeros((9, 3))}, "has arrays ['y'], but needs x"),
        ({"x": np.zeros((9, 4))}, "generated has 4 features, but reference has 3"),
        ({"x": np.zeros((4, 3))}, "generated has 4 samples, but num_neighbours=5 needs at least 6"),
        ({"x": np.zeros((0, 3))}, "float64 of shape (0, 3), but must be numbers"),
        ({"x": np.full((9, 3), np.nan)}, "9 of 9 samples of generated are not finite, first at index 0"),
        ({"x": np.array([["text"]])}, "but must be numbers"),
    ],
)
def test_command_refuses_in_one_line(files, tmp_path, capsys, content, message):
    path = tmp_path / "other.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    assert main([str(files[0]), str(path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("genjax.metrics: error: ")
    assert message in error


def test_bytes_and_floats_are_the_same_pixels(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, size=(20, 4, 4, 1), dtype=np.uint8)
    np.savez(tmp_path / "bytes.npz", x=images)
    np.savez(tmp_path / "floats.npz", x=images / np.float32(255))
    command = [str(tmp_path / "bytes.npz"), str(tmp_path / "floats.npz"), "--json", "--metrics", "frechet_distance"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["frechet_distance"] < 1e-10


def test_help_names_every_comparison(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as exit_status:
        main(["--help"])
    assert exit_status.value.code == 0
    assert ", ".join(metrics.COMPARISONS) in capsys.readouterr().out


def test_comparisons_are_named():
    x = np.zeros((9, 2))
    with pytest.raises(ValueError, match="there is no comparison 'fid'; use frechet_distance, kernel_distance"):
        metrics.compare(x, x, ["fid"], key=jax.random.key(0))


def test_a_distance_is_an_fid_only_on_the_genuine_weights():
    def label(features):
        return Result(name="frechet_distance", value=1.0, protocol={"features": features}).label

    assert label("inception-v3") == "frechet_distance (FID)"
    assert label("inception-v3-unverified") == "frechet_distance (FD-inception-v3-unverified)"
    assert label("classifier-mnist") == "frechet_distance (FD-classifier-mnist)"


def test_replicas_become_mean_and_sd():
    parts = [Result(name="mmd2", value=v, standard_error=e) for v, e in ((1.0, 0.1), (2.0, 0.3), (6.0, 0.2))]
    result = mean_over_replicas(parts)
    assert (result.value, result.replicas) == (3.0, (1.0, 2.0, 6.0))
    np.testing.assert_allclose([result.standard_error, result.sd], [0.2, 7**0.5])
    entries = result.as_dict()
    assert entries["replicas"] == [1.0, 2.0, 6.0]
    assert json.loads(json.dumps(entries)) == entries
    assert mean_over_replicas(parts[:1]) is parts[0]


def test_what_is_absent_or_not_finite_is_said_so():
    assert unavailable("recall", "no samples").as_dict() == {"value": None, "reason": "no samples"}
    infinite = Result(name="psnr", value=float("inf"), standard_error=float("nan"))
    assert infinite.as_dict() == {"value": None}
    text = table([unavailable("recall", "no samples"), infinite])
    assert "n/a" in text
    assert "no samples" in text
    assert "inf" in text


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float32"])
def test_content_against_itself_in_another_type_is_at_distance_zero(tmp_path, capsys, dtype):
    images = np.random.default_rng(0).integers(0, 256, size=(20, 4, 4, 1), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", images)
    np.save(tmp_path / "other.npy", images / np.float32(255) if dtype == "float32" else images.astype(dtype))
    command = [str(tmp_path / "bytes.npy"), str(tmp_path / "other.npy"), "--json", "--metrics", "frechet_distance"]
    for arguments in (command, [*reversed(command[:2]), *command[2:]]):
        assert main(arguments) == 0
        entries = json.loads(capsys.readouterr().out)
        assert entries["frechet_distance"] < 1e-10
        assert entries["protocol"]["bytes_divided_by"] == 255


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (
            np.zeros((9, 4, 4, 1), np.uint8),
            np.full((9, 4, 4, 1), 7.0),
            "real holds uint8 in [0, 0] and generated holds float64 in [7, 7], but a comparison needs bytes 0 … 255",
        ),
        (np.zeros((9, 3), np.uint8), np.full((9, 3), 256), "needs bytes 0 … 255 or real numbers in [0, 1]"),
        (np.zeros((9, 3), np.int32), np.zeros((9, 3)), "needs one kind of number in both files; convert one"),
        (np.zeros((9, 4, 4, 1)), -np.ones((9, 4, 4, 1)), "needs images of one range in both files; scale or clip one"),
        (
            np.zeros((9, 4, 4, 1)),
            np.zeros((9, 1, 4, 4)),
            "examples of generated have shape (1, 4, 4), but those of real have (4, 4, 1); transpose",
        ),
    ],
)
def test_unequal_scales_and_layouts_are_refused(tmp_path, capsys, real, generated, message):
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "generated.npy", generated)
    assert main([str(tmp_path / "real.npy"), str(tmp_path / "generated.npy")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_fits_the_terminal_and_loses_no_word(width):
    protocol = {"features": "inception-v3-unverified", "reference": "10000 of test", "guarantee": "biased estimate"}
    results = [
        Result(name="frechet_distance", value=123.4567, standard_error=0.1, protocol=protocol),
        unavailable("log_prob", "GAN has no log_prob or log_prob_lower_bound or log_prob_estimate"),
    ]
    narrow, wide = table(results, width=width), table(results)
    assert max(map(len, narrow.splitlines())) <= width
    assert Counter("".join(narrow.split())) == Counter("".join(wide.replace("  protocol", "").split()))
