"""One device, many devices, many processes: the same loss curve."""

import os

import jax
import numpy as np
import pytest

from genjax.compilation import divide_cpu
from genjax.runner import load_run
from tests.running import TINY, finish, free_address, losses, run_python, start, start_together

PROCESS = """
import sys
import jax
coordinator, count, index, folder, file = sys.argv[1:]
jax.distributed.initialize(coordinator, int(count), int(index))
from pathlib import Path
from genjax.runner import load_experiment_fn, train
experiment = load_experiment_fn(Path(file))(steps=20)
run = train(experiment, workdir=folder, progress=False)
assert jax.device_count() == 4, jax.devices()
x = run.sample(jax.random.key(0), 4)
assert x.shape == (4, 4, 4, 1)
"""


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices") / "run"
    status, _, err = finish(start("train", TINY, "--workdir", folder, "--steps", "20", devices=1))
    assert status == 0, err
    return losses(folder)


def test_a_cpu_is_divided_by_a_flag(one_device, genjax, tmp_path):
    folder = tmp_path / "run"
    status, _, err = finish(start("train", TINY, "--devices", 2, "--workdir", folder, "--steps", 20))
    assert status == 0, err
    assert "compiling for 2 cpu devices" in err
    assert_same_curve(folder, one_device)
    assert len(jax.devices()) == 2
    status, _, err = genjax("train", TINY, "--devices", 3)
    message = "devices is 3, but JAX has started with 2; divide the CPU before anything is computed"
    assert (status, err) == (2, f"genjax: error: {message}\n")


def test_only_cpus_are_divided(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match="devices is 2, but only a CPU can be divided, not a gpu"):
        divide_cpu(2)


def assert_same_curve(folder, expected):
    actual = losses(folder)
    assert actual.keys() == expected.keys()
    np.testing.assert_allclose(list(actual.values()), list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("devices", [2, 8])
def test_many_devices_give_the_same_losses(tmp_path, one_device, devices):
    folder = tmp_path / "run"
    status, _, err = finish(start("train", TINY, "--workdir", folder, "--steps", "20", devices=devices))
    assert status == 0, err
    assert_same_curve(folder, one_device)


@pytest.mark.parametrize("num_samples", [6, 7])
def test_many_devices_draw_the_same_samples(tmp_path, tiny_run, num_samples):
    """Two devices share six samples evenly; seven are drawn on one device."""
    files = {devices: tmp_path / f"{devices}.npy" for devices in (1, 2)}
    for devices, file in files.items():
        command = ("sample", tiny_run, "-n", num_samples, "--mean", "--seed", 5, "--out", file)
        status, _, err = finish(start(*command, devices=devices))
        assert status == 0, err
    one, two = (np.load(file) for file in files.values())
    assert one.shape == (num_samples, 4, 4, 1)
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_a_batch_that_fewer_devices_shared_is_sampled_and_evaluated(tmp_path):
    """A batch of 9 cannot be split over 2 devices, but only training splits it."""
    folder = tmp_path / "run"
    status, _, err = finish(start("train", TINY, "--workdir", folder, "--steps", "10", "--batch-size", "9"))
    assert status == 0, err
    (folder / "weights.safetensors").unlink()  # read the checkpoint
    for command in (("sample", folder), ("evaluate", folder, "--metrics", "log_prob_lower_bound")):
        status, _, err = finish(start(*command, devices=2))
        assert status == 0, err


def test_two_processes_of_two_devices_give_the_same_losses(tmp_path, one_device):
    folder, coordinator = tmp_path / "run", free_address()
    processes = [run_python(PROCESS, coordinator, 2, index, folder, TINY) for index in range(2)]
    for process in processes:
        status, _, err = finish(process)
        assert status == 0, err
    assert_same_curve(folder, one_device)


@pytest.mark.slow
def test_processes_that_slurm_starts_need_no_address(tmp_path, one_device):
    folder, job = tmp_path / "run", {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1"}
    job |= {"SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    command = ("train", TINY, "--steps", "20", "--workdir", folder, "--distributed")
    for process in [start(*command, SLURM_PROCID=str(index), **job) for index in range(2)]:
        status, _, err = finish(process, timeout=900)
        assert status == 0, err
    assert_same_curve(folder, one_device)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=2,fsdp=2", "fsdp=4"])
def test_two_processes_split_parameters_and_write_their_parts(tmp_path, mesh):
    """The losses are those of one device, and one process reads the checkpoints and goes on."""
    wide, one, folder = ("--widths", 64, "--workdir"), tmp_path / "one", tmp_path / "run"
    status, _, err = finish(start("train", TINY, *wide, one, "--steps", 30), timeout=900)
    assert status == 0, err
    for process in start_together("train", TINY, *wide, folder, "--steps", 20, "--mesh", mesh, devices=2):
        status, _, err = finish(process, timeout=900)
        assert status == 0, err
    parts = {file.name for file in (folder / "checkpoints" / "20" / "state").iterdir() if file.is_dir()}
    assert {"ocdbt.process_0", "ocdbt.process_1"} <= parts
    weights = load_run(folder).variables
    (folder / "weights.safetensors").unlink()
    jax.tree.map(np.testing.assert_array_equal, load_run(folder).variables, weights)
    status, _, err = finish(start("train", TINY, *wide, folder, "--steps", 30, "--resume"), timeout=900)
    assert status == 0, err
    assert f"mesh is {mesh}, which takes 4 devices, but there are 1" in err
    assert_same_curve(folder, losses(one))
