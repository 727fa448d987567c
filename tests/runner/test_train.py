"""Training in Python: results do not depend on dispatch, data feeding or replication."""

import dataclasses
import importlib.util
import os
import signal
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data
from genjax.core import Learner, Objective, TrainState, Variables
from genjax.learners import Stage, gradient_learner
from genjax.monitoring.monitor import TrainingWarning
from genjax.runner import Experiment, Interrupted, NonFiniteError, load_run, train

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parent / "experiments" / "tiny.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


def loss_rows(run):
    return {row["step"]: row["loss"] for row in run.rows if "loss" in row}


def assert_same_variables(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.fixture(scope="module")
def lone():
    return train(tiny.experiment(), progress=False)


def test_length_of_dispatch_does_not_matter(lone):
    other = train(tiny.experiment(log_every=4), progress=False)
    assert_same_variables(lone.variables, other.variables, rtol=0, atol=0)


def test_streamed_data_give_the_same_run_as_resident_data(lone):
    experiment = tiny.experiment()
    splits = experiment.data.splits

    class Records:
        def __init__(self, source):
            self.source = source

        def __len__(self):
            return len(self.source)

        def __getitem__(self, index):
            return {name: array[index] for name, array in self.source.arrays.items()}

    streamed = data.Dataset(
        name="random", splits={n: data.RecordSource(Records(s)) for n, s in splits.items()}, levels=256
    )
    assert not streamed.splits["train"].resident
    other = train(dataclasses.replace(experiment, data=streamed), progress=False)
    assert_same_variables(lone.variables, other.variables, rtol=0, atol=0)


def test_each_replica_equals_its_lone_run(lone):
    together = train(tiny.experiment(), seed=0, seeds=3, progress=False)
    assert together.seeds == (0, 1, 2)
    assert_same_variables(together.replica(0), lone.variables, rtol=1e-5, atol=1e-6)
    alone = train(tiny.experiment(), seed=2, progress=False)
    assert_same_variables(together.replica(2), alone.variables, rtol=1e-5, atol=1e-6)
    row = next(r for r in together.rows if r["step"] == 10 and "loss" in r)
    first = loss_rows(lone)[10]
    third = loss_rows(alone)[10]
    np.testing.assert_allclose([row["loss/seeds"][0], row["loss/seeds"][2]], [first, third], rtol=1e-5)
    assert together.sample(jax.random.key(0), 5, replica=2).shape == (5, 4, 4, 1)
    with pytest.raises(ValueError, match="replica is 3, but the run has 3"):
        together.replica(3)


def test_training_learns_the_pixel_frequencies():
    """If all images are equal, the bound approaches log p(x) = 0."""
    x = np.broadcast_to(np.array([0, 255] * 8, np.uint8).reshape(4, 4, 1), (32, 4, 4, 1))
    experiment = tiny.experiment(learning_rate=3e-2, steps=300, log_every=100)
    experiment = dataclasses.replace(experiment, data=data.arrays(x, test=8))
    run = train(experiment, progress=False)
    result = run.evaluate(jax.random.key(0), likelihood_samples=10)
    assert -0.05 < result["log_prob_lower_bound"].value <= result["log_prob_estimate"].value + 0.01 <= 0.01
    assert result["log_prob_estimate"].protocol["guarantee"] == "estimate"
    np.testing.assert_array_equal(np.asarray(run.sample(jax.random.key(1), 4, mean=True)) > 0.5, x[:4] > 0)


def test_evaluation_counts_every_example_once(lone):
    test = lone.experiment.data.splits["test"]
    results = [lone.evaluate(jax.random.key(0), likelihood_samples=200, batch_size=size) for size in (16, 6)]
    assert results[0]["log_prob_estimate"].protocol["examples"] == len(test) == 16
    # Binarization and latent samples depend on the batches, so the means agree only up to noise.
    means = [r["log_prob_estimate"].value for r in results]
    assert abs(means[0] - means[1]) < 6 * results[0]["log_prob_estimate"].standard_error
    with pytest.raises(ValueError, match=r"split is 'dev', but 'random' has \['test', 'train', 'validation'\]"):
        lone.evaluate(jax.random.key(0), split="dev")


def test_a_run_folder_reads_back(tmp_path, lone, monkeypatch):
    folders = []
    monkeypatch.setattr("genjax.runner.folder._commit", lambda folder: str(folders.append(folder)))
    experiment = tiny.experiment()
    run = train(experiment, workdir=tmp_path / "run", progress=False)
    assert_same_variables(run.variables, lone.variables, rtol=0, atol=0)
    assert len(folders) == 2  # of the working folder and of the package, once each
    with pytest.raises(ValueError, match="keeps no experiment file"):
        load_run(tmp_path / "run")
    back = load_run(tmp_path / "run", experiment=experiment)
    assert_same_variables(run.variables, back.variables, rtol=0, atol=0)
    assert back.step == 40
    earlier = load_run(tmp_path / "run", experiment=experiment, checkpoint=20)
    assert earlier.step == 20
    for name in ("report.md", "samples.png", "curves.png", "results.json", "environment.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    with pytest.raises(ValueError, match=r"holds a run of 'experiment'; pass --resume .* --overwrite"):
        train(experiment, workdir=tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="resume and overwrite need a run folder"):
        train(experiment, resume=True, progress=False)


def test_non_finite_loss_names_step_and_metric_and_keeps_the_last_finite_checkpoint(tmp_path):
    def explode(step):
        return jnp.where(step < 23, 1e-3, jnp.nan)

    experiment = dataclasses.replace(tiny.experiment(), optimizer=optax.sgd(explode))
    # Update 23 makes the parameters NaN, and the loss of step 25 is the first to use them (steps count from one).
    with pytest.raises(NonFiniteError, match=r"loss became nan at step 25; .* checkpoint is that of step 20"):
        train(experiment, workdir=tmp_path / "run", progress=False)
    restored = load_run(tmp_path / "run", experiment=experiment)
    assert restored.step == 20
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored.variables))


def test_parameters_that_break_in_the_last_step_are_not_saved(tmp_path):
    experiment = dataclasses.replace(
        tiny.experiment(), optimizer=optax.sgd(lambda step: jnp.where(step < 19, 1e-3, jnp.nan))
    )
    with (
        pytest.warns(TrainingWarning, match="after step 20 .* on split 'validation' are not finite"),
        pytest.raises(NonFiniteError, match=r"parameters stopped being finite by step 20; .* that of step 10"),
    ):
        train(experiment, workdir=tmp_path / "run", progress=False)


def test_non_finite_replica_is_named():
    def loss(params, state, key, batch, step):
        del key, batch
        value = jnp.where((params["part"]["seed"] > 0.5) & (step == 6), jnp.inf, params["part"]["w"])
        return value, (state, {})

    model = _Toy(loss, lambda key: {"w": jnp.float32(1.0), "seed": jnp.float32(jax.random.uniform(key))})
    experiment = Experiment(
        model=model, data=data.arrays(np.zeros((8, 2), np.float32)), optimizer=optax.sgd(0.0),
        steps=10, batch_size=4, log_every=5,
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"loss became inf at step 7 \(replica \d\)"):
        train(experiment, seeds=6, progress=False)


class _Toy:
    """A model of one scalar, whose loss a test defines."""

    def __init__(self, loss, params):
        self._loss, self._params = loss, params

    def init(self, key, batch):
        del batch
        return Variables({"part": self._params(key)}, {})

    def objectives(self):
        return (Objective(name="toy", wrt=("part",), loss=self._loss),)

    def sample(self, variables, key, num_samples):
        return variables.params["part"]["w"] + jax.random.normal(key, (num_samples, 2))


def _mean_learner():
    """A learner without gradients: it keeps the running mean of all examples."""

    def init(key, batch):
        del key
        mean = jnp.zeros(batch["x"].shape[1:])
        return TrainState(step=jnp.int32(0), params={"part": {"w": mean}}, state={}, opt_state={}, ema=None)

    def step(train_state, key, batch):
        del key
        old = train_state.params["part"]["w"]
        new = old + (jnp.mean(batch["x"], axis=0) - old) / (train_state.step + 1)
        return train_state.replace(step=train_state.step + 1, params={"part": {"w": new}}), {
            "moved": jnp.sum(new - old)
        }

    return Learner(init=init, step=step)


def test_a_hand_written_learner_trains_and_every_example_is_seen_once_an_epoch():
    x = np.random.default_rng(1).normal(size=(24, 2)).astype(np.float32)
    experiment = Experiment(
        model=_Toy(None, None), data=data.arrays(x), learner=_mean_learner(), steps=6, batch_size=8, log_every=3
    )
    run = train(experiment, progress=False)
    # Two epochs of three batches: the running mean is that of the data only if no example repeats within an epoch.
    np.testing.assert_allclose(run.variables.params["part"]["w"], x.mean(axis=0), rtol=1e-5, atol=1e-6)


def two_stages(steps=(20, 30), fail_after=None):
    """The first stage computes the mean of the data; the second fits a scalar to the variance around it."""

    def second(frozen):
        centre = frozen["mean"].params["part"]["w"]

        def loss(params, state, key, batch, step):
            del key, step
            target = jnp.mean(jnp.sum(jnp.square(batch["x"]), axis=-1)) + 0 * jnp.sum(centre)
            return jnp.square(params["part"]["w"] - target), (state, {})

        return gradient_learner(
            _Toy(loss, lambda key: {"w": jnp.float32(0.0) * jax.random.uniform(key)}), optax.sgd(0.1)
        )

    def centred(frozen):
        return lambda key, batch: batch | {"x": batch["x"] - frozen["mean"].params["part"]["w"][None]}

    x = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32) + 3
    return x, Experiment(
        model=_Toy(None, None),
        data=data.arrays(x),
        batch_size=8,
        log_every=10,
        stages=(
            Stage(name="mean", learner=lambda _: _mean_learner(), batch=lambda _: data.unchanged, steps=steps[0]),
            Stage(name="spread", learner=second, batch=centred, steps=steps[1]),
        ),
        variables=lambda finished: Variables(
            {"mean": finished["mean"].params["part"], "part": finished["spread"].params["part"]}, {}
        ),
    )


@pytest.mark.parametrize("seeds", [1, 2])
def test_stages_see_the_finished_variables_of_those_before(tmp_path, seeds):
    x, experiment = two_stages()
    run = train(experiment, seeds=seeds, workdir=tmp_path / "run", progress=False)
    params = run.replica(seeds - 1).params
    np.testing.assert_allclose(params["mean"]["w"], x.mean(axis=0), rtol=1e-5)
    variance = np.square(x - x.mean(axis=0)).sum(axis=-1).mean()
    np.testing.assert_allclose(params["part"]["w"], variance, rtol=1e-2)
    assert run.step == 50
    assert max(row["step"] for row in run.rows) == 50
    back = load_run(tmp_path / "run", experiment=experiment)
    assert_same_variables(back.variables, run.variables, rtol=0, atol=0)
    again = train(experiment, seeds=seeds, workdir=tmp_path / "run", resume=True, progress=False)
    assert_same_variables(again.variables, run.variables, rtol=0, atol=0)


def test_a_signal_between_stages_stops_the_next_stage_in_good_order(tmp_path):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach only the main thread")
    _, experiment = two_stages()
    whole = train(experiment, progress=False)
    first, second = experiment.stages
    signals = [signal.SIGTERM]

    def learner(frozen):
        while signals:
            os.kill(os.getpid(), signals.pop())
        return second.learner(frozen)

    stopped = dataclasses.replace(experiment, stages=(first, dataclasses.replace(second, learner=learner)))
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM after step 10; resume with: .*genjax train"):
        train(stopped, workdir=tmp_path / "run", progress=False)
    resumed = train(experiment, workdir=tmp_path / "run", resume=True, progress=False)
    assert_same_variables(resumed.variables, whole.variables, rtol=0, atol=0)
    assert [row["step"] for row in resumed.rows if "steps_per_second" in row] == [10, 20, 30, 40, 50]


def test_schedule_gets_a_fresh_minibatch_each_turn():
    """The metric is the mean of the minibatch; over an epoch of turns, it averages to the mean of the data."""

    def loss(params, state, key, batch, step):
        del key, step
        return 0.0 * params["part"]["w"], (state, {"mean": jnp.mean(batch["x"])})

    class Two(_Toy):
        def objectives(self):
            return tuple(Objective(name=n, wrt=("part",), loss=loss) for n in ("a", "b"))

    x = np.arange(24, dtype=np.float32).reshape(24, 1)
    experiment = Experiment(
        model=Two(loss, lambda key: {"w": jnp.float32(0.0) * jax.random.uniform(key)}),
        data=data.arrays(x), optimizer=optax.sgd(0.0), schedule=("a", "a", "b"), steps=2, batch_size=4, log_every=1,
    )  # fmt: skip
    rows = train(experiment, progress=False).rows
    means = [(2 * row["a/mean"] + row["b/mean"]) / 3 for row in rows]
    assert np.mean(means) == pytest.approx(x.mean())
    assert rows[0]["a/mean"] != rows[1]["a/mean"]
