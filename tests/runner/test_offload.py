"""The state of the optimizer can be kept in the memory of the host, which changes no number."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from genjax.runner import load_run, train
from genjax.runner.folder import stored_settings
from genjax.runner.load import load_experiment, load_experiment_fn
from genjax.runner.stages import StageWalk
from genjax.sharding import HOST, MIN_SPLIT, Placement, bytes_per_device
from tests.running import TINY

tiny = load_experiment_fn(TINY)


def offloaded(**settings):
    return dataclasses.replace(tiny(steps=20, **settings), offload_optimizer=True)


def state_of(experiment, mesh=None, seeds=(0,)):
    """Return the state before the first step, as arrays and as shapes."""
    (loop,) = StageWalk(experiment, seeds, Placement(mesh))
    return loop.init(), loop.abstract()


@pytest.mark.parametrize(("mesh", "seeds"), [(None, (0,)), ({"fsdp": 2}, (0,)), (None, (0, 1))])
def test_large_arrays_of_the_optimizer_and_nothing_else_are_on_the_host(mesh, seeds):
    arrays, placed = state_of(offloaded(widths=(64,)), mesh, seeds)
    for state in (arrays, placed):
        for part in ("params", "state", "ema", "averages", "step"):
            assert all(leaf.sharding.memory_kind != HOST for leaf in jax.tree.leaves(getattr(state, part)))
        kinds = [
            (leaf.size >= MIN_SPLIT, leaf.sharding.memory_kind == HOST) for leaf in jax.tree.leaves(state.opt_state)
        ]
        assert all(large == on_host for large, on_host in kinds)
        assert any(on_host for _, on_host in kinds)
    _, usual = state_of(tiny(steps=20, widths=(64,)), mesh, seeds)
    assert bytes_per_device(placed) < 0.7 * bytes_per_device(usual)


@pytest.mark.parametrize("settings", [{}, {"seeds": 2}, {"mesh": {"fsdp": 2}}], ids=str)
def test_it_changes_no_number(settings):
    runs = [train(experiment, progress=False, **settings) for experiment in (tiny(steps=20), offloaded())]
    jax.tree.map(np.testing.assert_array_equal, *[run.variables for run in runs])
    assert runs[0].rows[-1]["loss"] == runs[1].rows[-1]["loss"]


def test_the_command_line_stores_it_and_resumes_with_it(genjax, tmp_path):
    folder, mesh = tmp_path / "run", ("--mesh", "fsdp=2")
    status, _, err = genjax("train", TINY, "--workdir", folder, *mesh, "--offload-optimizer", "--steps", 20)
    assert status == 0, err
    assert json.loads((folder / "arguments.json").read_text())["offload_optimizer"]
    assert load_experiment(folder).offload_optimizer
    variables = load_run(folder).variables
    shutil.rmtree(folder / "checkpoints" / "20")
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume")
    assert status == 0, err
    assert stored_settings(folder).offload_optimizer
    jax.tree.map(np.testing.assert_array_equal, load_run(folder).variables, variables)


def test_devices_that_read_no_memory_of_the_host_are_named(monkeypatch):
    class Memory:
        kind = "device"

    class Device:
        device_kind = "abacus"

        def addressable_memories(self):
            return [Memory()]

    placement = Placement()
    monkeypatch.setattr(placement, "mesh", type("Mesh", (), {"devices": np.array([Device()])}))
    message = "offload_optimizer is set, but abacus devices have no pinned_host memory, only device; leave it out"
    with pytest.raises(ValueError, match=message):
        placement.place(None, None, offload_optimizer=True)
