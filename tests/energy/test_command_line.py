"""An energy model from the command line: train, sample by another kernel or from the buffer, evaluate."""

from __future__ import annotations

import numpy as np
import pytest

EXPERIMENT = '''"""A joint energy model of two classes in the plane."""

import numpy as np
import optax

from genjax import Experiment, data, energy, nets


def experiment() -> Experiment:
    """Describe the run."""
    label = np.arange(400, dtype=np.int32) % 2
    x = (np.random.default_rng(0).normal(size=(400, 2)) + 4 * label[:, None] - 2).astype(np.float32)
    split = {"x": x[:300], "label": label[:300]}, {"x": x[300:], "label": label[300:]}
    splits = {name: data.ArraySource(part) for name, part in zip(("train", "test"), split)}
    return Experiment(
        model=energy.EnergyModel(
            net=nets.MLP((16, 2)),
            base=energy.Gaussian((2,), std=3.0),
            rules=(energy.ContrastiveDivergence(num_steps=2, buffer_size=64), energy.Classification()),
            kernel=energy.MALA(0.1),
            num_steps=5,
            num_classes=2,
        ),
        data=data.Dataset(name="two", splits=splits, num_classes=2),
        optimizer=optax.adam(1e-2),
        steps=60,
        batch_size=32,
    )
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("energy")
    (folder / "two.py").write_text(EXPERIMENT)
    return folder


def test_it_trains_samples_and_classifies(genjax, folder):
    run = folder / "run"
    status, _, err = genjax("train", folder / "two.py", "--workdir", run)
    assert status == 0, err
    draws = {}
    for name, flags in {
        "own": (),
        "hmc": ("--kernel", "hmc", "--step-size", "0.2", "--num-steps", "7"),
        "buffer": ("--start", "buffer"),
        "class": ("--label", "1"),
    }.items():
        status, _, err = genjax("sample", run, "-n", "20", "--out", folder / f"{name}.npy", *flags)
        assert status == 0, err
        draws[name] = np.load(folder / f"{name}.npy")
        assert draws[name].shape == (20, 2)
    assert len({draw.tobytes() for draw in draws.values()}) == 4
    status, out, err = genjax("evaluate", run, "--metrics", "classification", "calibration", "log_prob")
    assert status == 0, err
    assert "label_accuracy" in out
    assert "calibration_error" in out
    assert "exact" in out
