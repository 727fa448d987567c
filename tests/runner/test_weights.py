"""The weights of a finished run are one file: bit for bit those of the last checkpoint, checked, and open to others."""

import dataclasses
import importlib.util
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genjax import nets
from genjax.core import Learner, Variables
from genjax.runner import load_run, train
from genjax.runner.weights import FILE, load_weights, save_weights

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parent / "experiments" / "tiny.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return an experiment of two replicas and its run."""
    experiment = tiny.experiment()
    return experiment, train(experiment, seeds=2, workdir=tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished[1].folder, tmp_path / "run")


def test_sampling_reads_the_weights_and_no_checkpoint(finished, folder, monkeypatch):
    experiment, run = finished
    monkeypatch.setattr("genjax.runner.load.Checkpoints", None)  # would raise when called
    loaded = load_run(folder, experiment=experiment)
    assert_equal(loaded.variables, run.variables)
    assert (loaded.step, loaded.seeds) == (run.step, run.seeds)


def test_weights_are_those_of_the_last_checkpoint(finished, folder):
    experiment, run = finished
    (folder / FILE).unlink()
    assert_equal(load_run(folder, experiment=experiment).variables, run.variables)


def test_other_programs_read_the_names_of_the_parameters(finished, folder):
    arrays = load_file(folder / FILE)
    kernel = finished[1].variables.params["decoder"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(arrays["params/decoder/Dense_0/kernel"], kernel)
    assert len(arrays) == len(jax.tree.leaves(finished[1].variables))


@pytest.mark.parametrize("cut", [1, 1000])
def test_damaged_weights_are_replaced_by_the_checkpoint(finished, folder, cut):
    experiment, run = finished
    content = bytearray((folder / FILE).read_bytes())
    content[-5] ^= 1
    (folder / FILE).write_bytes(content if cut == 1 else content[:-cut])
    with pytest.warns(UserWarning, match=r"weights.safetensors is damaged; reading the newest checkpoint"):
        loaded = load_run(folder, experiment=experiment)
    assert_equal(loaded.variables, run.variables)


def test_weights_of_another_step_or_another_program_are_left_alone(finished, folder):
    experiment, run = finished
    assert load_weights(folder, experiment, 2, run.step + 1) is None
    save_file({"a": np.zeros(3)}, folder / FILE)
    assert_equal(load_run(folder, experiment=experiment).variables, run.variables)


def test_weights_that_do_not_fit_the_model_are_left_to_the_checkpoint(finished, folder):
    experiment, run = finished
    decoder = nets.MLP(features=(5,), output_shape=(4, 4, 1))
    edited = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, decoder=decoder))
    assert load_weights(folder, edited, 2, run.step) is None


def test_every_type_of_array_comes_back(tmp_path, finished):
    class Model:
        def init(self, key, batch):
            del key, batch
            zeros = {"bf16": jnp.zeros((2, 3), jnp.bfloat16), "bool": jnp.zeros(3, bool), "empty": jnp.zeros((0, 2))}
            return Variables({"part": zeros}, (jnp.int32(0), jnp.zeros(2, jnp.uint8)))

    nothing = Learner(init=lambda key, batch: None, step=lambda *_: (None, {}))
    experiment = dataclasses.replace(finished[0], optimizer=None, learner=nothing)
    object.__setattr__(experiment, "model", Model())
    values = {
        "bf16": jnp.full((2, 3), 1.5, jnp.bfloat16),
        "bool": jnp.array([True, False, True]),
        "empty": jnp.zeros((0, 2)),
    }
    variables = Variables({"part": values}, (jnp.int32(7), jnp.array([3, 255], jnp.uint8)))
    save_weights(tmp_path, variables, 5)
    loaded = load_weights(tmp_path, experiment, 1, 5)
    assert_equal(loaded, variables)
    assert [leaf.dtype for leaf in jax.tree.leaves(loaded)] == [leaf.dtype for leaf in jax.tree.leaves(variables)]


def test_weights_alone_come_back_in_another_run_of_the_experiment(finished, tmp_path):
    _, run = finished
    run.save_weights(tmp_path / "new" / "x.safetensors")
    other = dataclasses.replace(run, variables=jax.tree.map(jnp.zeros_like, run.variables), step=0)
    loaded = other.load_weights(str(tmp_path / "new" / "x.safetensors"))
    assert_equal(loaded.variables, run.variables)
    assert (loaded.step, loaded.seeds) == (run.step, run.seeds)


def test_weights_that_cannot_be_loaded_are_refused_in_one_line(finished, tmp_path):
    _, run = finished
    file = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match=r"no file .*x\.safetensors; check the path"):
        run.load_weights(file)
    run.save_weights(file)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged; save the weights again"):
        run.load_weights(file)
    file.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="is no readable safetensors file"):
        run.load_weights(file)
    save_file({"a": np.zeros(3)}, file)
    with pytest.raises(ValueError, match=r"holds no weights of a run; write it with run\.save_weights"):
        run.load_weights(file)
    one = dataclasses.replace(run, variables=run.replica(), seeds=(0,))
    one.save_weights(file)
    with pytest.raises(ValueError, match="load weights of the same experiment and number of seeds"):
        run.load_weights(file)
    halves = jax.tree.map(lambda a: a.astype(jnp.float16) if a.dtype == jnp.float32 else a, run.variables)
    dataclasses.replace(run, variables=halves).save_weights(file)
    with pytest.raises(ValueError, match="as float16, but the model needs float32"):
        run.load_weights(file)
