"""One device, many devices, many processes: the same loss curve."""

import os
import socket
import subprocess
import sys
import time

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


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def run_python(program, *arguments):
    """Start a program in a process of two devices."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **flags, **QUICK},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_two_processes_of_two_devices_give_the_same_losses(tmp_path, one_device):
    folder, coordinator = tmp_path / "run", free_address()
    processes = [run_python(PROCESS, coordinator, 2, index, folder, TINY) for index in range(2)]
    for process in processes:
        status, _, err = finish(process)
        assert status == 0, err
    assert_same_curve(folder, one_device)


LOSING = """
import sys
from genjax.cli import processes
from genjax.cli.main import main
processes.HEARTBEAT_SECONDS = 8
main(sys.argv[1:])
"""


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_is_named_by_the_other(tmp_path, lost):
    folder, coordinator = tmp_path / "run", free_address()
    training = ("train", TINY, "--steps", "1000000", "--workdir", folder)
    processes = [
        run_python(LOSING, *training, "--coordinator", coordinator, "--num-processes", "2", "--process-id", index)
        for index in range(2)
    ]
    try:
        while len(losses(folder) if (folder / "metrics.jsonl").exists() else ()) < 2:
            assert all(process.poll() is None for process in processes), processes[0].communicate()
            time.sleep(0.1)
        processes[lost].kill()
        status, _, err = finish(processes[1 - lost], timeout=60)
    finally:
        for process in processes:
            process.kill()
    assert status != 0
    *_, line = err.splitlines()
    assert line == f"genjax: error: process {lost} was lost; start all processes again with --resume to continue"
    assert "stack trace" not in err
