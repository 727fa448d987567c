"""One device, many devices, many processes: the same loss curve."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.running import QUICK, ROOT, TINY, finish, losses, start

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
    folder = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment = {**os.environ, **flags, **QUICK}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, coordinator, "2", str(index), str(folder), str(TINY)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for index in range(2)
    ]
    for process in processes:
        status, _, err = finish(process)
        assert status == 0, err
    assert_same_curve(folder, one_device)
