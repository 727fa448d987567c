"""Checkpoints are restored bit for bit, damaged ones are detected, and a failed write keeps the previous one."""

import errno
import os
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import TrainState
from genjax.runner.checkpoints import CheckpointError, Checkpoints, checksum


def make_state(step, scale=1.0):
    params = {"net": {"w": scale * jnp.sin(jnp.arange(600.0)).reshape(20, 30)}, "b": jnp.ones(3, jnp.bfloat16)}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return TrainState(
        step=jnp.int32(step),
        params=params,
        state={"count": jnp.uint8(7), "flag": jnp.array([True, False])},
        opt_state={"loss": optimizer.init(params)},
        ema=jax.tree.map(jnp.copy, params),
    )


def data_files(folder):
    return sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: -f.stat().st_size)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_round_trip_is_exact_and_survives_donation(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = make_state(1)
    expected = jax.tree.map(lambda a: np.array(a, copy=True), state)
    checkpoints.save(1, state, {})
    # Training donates the state while orbax is still writing it.
    jax.block_until_ready(jax.jit(lambda s: jax.tree.map(lambda a: a * 0, s), donate_argnums=0)(state))
    checkpoints.wait()
    restored = checkpoints.restore(jax.eval_shape(lambda: make_state(1)))
    assert restored is not None
    assert restored[0] == 1
    assert_same(restored[1], expected)
    checkpoints.close()


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, metric="score")
    for step, score in [(1, 0.0), (2, 9.0), (3, 1.0), (4, 2.0), (5, 3.0)]:
        checkpoints.save(step, make_state(step), {"score": score})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best_step() == 2
    assert checkpoints.metrics(2) == {"score": 9.0}
    checkpoints.close()


def flip_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("harm", [flip_byte, truncate, lambda file: file.unlink()], ids=["flip", "truncate", "remove"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, harm):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, make_state(step, scale=step), {})
    checkpoints.close()
    largest = next(f for f in data_files(tmp_path / "2" / "state") if f.parent.name == "d")
    harm(largest)
    checkpoints = Checkpoints(tmp_path)
    with pytest.warns(UserWarning, match=r"step 2 .* damaged .* the one before"):
        restored = checkpoints.restore(jax.eval_shape(lambda: make_state(0)))
    assert restored is not None
    assert restored[0] == 1
    assert_same(restored[1], make_state(1, scale=1))
    checkpoints.discard_after(1)
    assert checkpoints.steps() == [1]
    checkpoints.save(2, make_state(2), {})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2]
    checkpoints.close()


def test_no_readable_checkpoint_is_an_error_that_says_so(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(jax.eval_shape(lambda: make_state(0))) is None
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 .* there are \[1\]"):
        checkpoints.restore(jax.eval_shape(lambda: make_state(0)), step=7)
    for file in data_files(tmp_path / "1"):
        truncate(file)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="--overwrite"):
        checkpoints.restore(jax.eval_shape(lambda: make_state(0)))
    # A step that is asked for has no other in its place, so there is no warning.
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 1 .* is damaged .* use another"):
        checkpoints.restore(jax.eval_shape(lambda: make_state(0)), step=1)


def test_a_failed_write_names_the_cause_and_leaves_the_checkpoint_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    noise = make_state(2).replace(state={"big": jax.random.normal(jax.random.key(0), (500_000,))})
    # A limit on the file size makes larger writes fail, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .* step 1 is intact; free space"):
            checkpoints.save(2, noise, {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    reopened = Checkpoints(tmp_path)
    restored = reopened.restore(jax.eval_shape(lambda: make_state(0)))
    assert restored is not None
    assert_same(restored[1], make_state(1))


def test_checksum_sees_every_single_change_and_every_swap():
    state = make_state(1)
    base = int(checksum(state))
    leaves, structure = jax.tree.flatten(state)
    for i, leaf in enumerate(leaves):
        changed = np.array(leaf, copy=True)
        changed.reshape(-1).view(np.uint8)[-1] ^= 1
        assert int(checksum(jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]]))) != base
    swapped = state.replace(params=state.params | {"net": {"w": state.params["net"]["w"][:, ::-1]}})
    assert int(checksum(swapped)) != base


def shape_of(state):
    return jax.eval_shape(lambda: state)


def save_scores(folder, scores, first=0, **settings):
    checkpoints = Checkpoints(folder, keep=1, metric="score", **settings)
    for step, score in enumerate(scores, start=first):
        checkpoints.save(step, make_state(step), {"score": score})
    checkpoints.close()


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_stays_best_over_restarts(tmp_path, higher):
    sign = 1 if higher else -1
    for first, scores in [(0, [1, 9]), (2, [3]), (3, [4, 2])]:
        save_scores(tmp_path, [sign * score for score in scores], first, higher_is_better=higher)
    reopened = Checkpoints(tmp_path, read_only=True)
    assert reopened.steps() == [1, 4]
    assert reopened.best_step() == 1
    reopened.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_the_worst_and_is_told(tmp_path, bad):
    with pytest.warns(UserWarning, match=r"score is -?(nan|inf) at step \d, so its checkpoint cannot be the best"):
        save_scores(tmp_path, [bad, 1.0, bad])
    reopened = Checkpoints(tmp_path, read_only=True)
    assert reopened.best_step() == 1
    reopened.close()
    with pytest.warns(UserWarning, match="cannot be the best"):
        save_scores(tmp_path / "none", [bad])
    assert Checkpoints(tmp_path / "none", read_only=True).best_step() is None


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "saved")
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {})
    checkpoints.close()
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p | {"b": jnp.ones(4, jnp.bfloat16)}, r"params/b is bfloat16\[3\] there, but bfloat16\[4\] here"),
        (lambda p: p | {"b": jnp.ones(3)}, r"params/b is bfloat16\[3\] there, but float32\[3\] here"),
        (lambda p: p | {"c": jnp.ones(3)}, r"params/c is missing there, but float32\[3\] here"),
        (lambda p: {"net": p["net"]}, r"params/b is bfloat16\[3\] there, but missing here"),
    ],
    ids=["shape", "type", "more", "fewer"],
)
def test_a_checkpoint_that_does_not_fit_names_the_first_difference(saved, change, message):
    state = make_state(0)
    checkpoints = Checkpoints(saved)
    with pytest.raises(CheckpointError, match=rf"step 2 .* does not fit the experiment: {message}"):
        checkpoints.restore(shape_of(state.replace(params=change(state.params))))
    assert checkpoints.steps() == [1, 2]
    checkpoints.close()


def test_a_state_of_another_version_is_not_called_damaged(tmp_path):
    """Versions that did not know averages wrote no entry for them, not even an empty one."""
    checkpoints, state = Checkpoints(tmp_path / "old"), make_state(0)
    checkpoints.save(1, {name: value for name, value in vars(state).items() if name != "averages"}, {})
    checkpoints.wait()
    with pytest.raises(CheckpointError, match=r"another version of genjax: its state has no averages; use that"):
        checkpoints.restore(shape_of(state))
    checkpoints.close()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(saved, monkeypatch, number):
    checkpoints = Checkpoints(saved)

    def refuse(*args, **kwargs):
        raise ValueError("tensorstore") from OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoints._manager, "restore", refuse)
    with pytest.raises(CheckpointError, match=rf"step 2 .* now: {os.strerror(number)}; nothing was deleted"):
        checkpoints.restore(shape_of(make_state(0)))
    checkpoints.close()


def test_a_folder_that_vanishes_ends_training_at_once(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"run was deleted or moved while training"):
        checkpoints.save(2, make_state(2), {})
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()  # as orbax does if the folder vanishes while it writes

    def fail():
        raise ValueError('NOT_FOUND: Error writing "step/0"')

    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", fail)
    with pytest.raises(CheckpointError, match=r"run was deleted or moved while training"):
        checkpoints.wait()
