"""The training loop of one stage: compiled dispatches of many steps, and what happens between them.

    state, metrics ← scan over log_every steps of: pick a batch, preprocess, stage batch, learner step

runs as one donated ``jit``. The metrics of a dispatch are read while the next one runs, so nothing waits for the host.
Every random choice is a function of (seed, stage, stream, step), so a resumed run makes the same draws as an
uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from genjax import data
from genjax.capabilities import tensor_axis
from genjax.compilation import compiler_options, jit
from genjax.core import Array, Metrics, PyTree, TrainState, step_key, stream_key
from genjax.data.source import RESIDENT_BYTES
from genjax.experiment import Experiment
from genjax.learners import Frozen, Stage
from genjax.monitoring.monitor import TrainingWarning
from genjax.nets import computing
from genjax.ops.keys import seed_key
from genjax.roofline import count_flops
from genjax.runner.batches import Feed, ResidentFeed, make_feed
from genjax.runner.checkpoints import CheckpointError, Checkpoints, all_finite
from genjax.sharding import Placement, Rules, replica, to_device, to_host

StopSignal = Callable[[], int | None]
CACHE_BATCH_SIZE = 1_000  # examples encoded at once
MAX_POLLING_SECONDS = 0.05  # between two looks at metrics that are being computed
SCHEDULER_SIGNALS = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)]


def root_keys(seeds: tuple[int, ...], stream: str) -> Array:
    """Return the key of a random stream, shape () for one seed, or (K,) for K seeds."""
    first, _ = seed_key(seeds[0]), seed_key(seeds[-1])  # raises if either is out of range
    if len(seeds) == 1:
        return stream_key(first, stream)
    return jax.vmap(lambda seed: stream_key(jax.random.key(seed), stream))(np.asarray(seeds, np.uint32))


class NonFiniteError(RuntimeError):
    """A loss or a parameter is not finite; the message names the step."""


class Interrupted(RuntimeError):  # noqa: N818 - not an error, because training stopped as requested
    """Training was stopped by a signal, after the state was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions that the loop calls between dispatches.

    Attributes:
      log_metrics: function ``(step, metrics)``, called after each dispatch with values of shape () or (K,).
      evaluate: function ``(step, state) -> held-out metrics``, called at the evaluation interval.
      preview: function ``(step, state)``, called at the interval of sample previews.
      stop_signal: function that returns the number of the signal that stops training, or None.
      after: function ``(step, metrics, state)`` that calls the experiment's callbacks and returns whether they stop
        training; None without callbacks.
    """

    log_metrics: Callable[[int, Mapping[str, Any]], None]
    evaluate: Callable[[int, TrainState], dict[str, np.ndarray]]
    preview: Callable[[int, TrainState], None]
    stop_signal: StopSignal
    after: Callable[[int, Mapping[str, Any], TrainState], bool] | None = None


class Pending(NamedTuple):
    """A dispatch whose metrics have not been read yet."""

    step: int
    count: int
    metrics: Metrics


@final
class StageLoop:
    """One stage of an experiment, ready to run with one replica for each seed.

    ``finished`` are the variables of the stages before, with a leading axis of replicas for several seeds, and
    ``steps_before`` is their number of steps. ``programs`` are checksums of the programs that train the stage, by
    number of steps, devices and version of JAX: equal ones make equal steps.
    """

    def __init__(
        self,
        experiment: Experiment,
        stage: Stage,
        finished: Frozen,
        seeds: tuple[int, ...],
        placement: Placement,
        *,
        steps_before: int = 0,
        is_last: bool = True,
    ) -> None:
        self.stage, self.finished, self.steps_before, self.is_last = stage, dict(finished), steps_before, is_last
        self._experiment, self._seeds, self._placement = experiment, seeds, placement
        self._num_seeds = len(seeds)
        self._first = self.finished if self._num_seeds == 1 else replica(self.finished, 0)
        self._minibatches = _num_minibatches(stage, self._first)
        self._keys = placement.replicate(root_keys(seeds, stage.name))
        self.programs: dict[str, int] = {}
        self._compiled: dict[int, Callable[..., tuple[TrainState, Metrics]]] = {}
        self._finite = jit(all_finite)
        self._last_read = 0.0
        self.num_steps = stage.steps  # fewer after ``run`` if callbacks stop training

    @functools.cached_property
    def _feed(self) -> Feed:
        """Feed of the training split, built on first use: reading checkpoints puts no data on the device."""
        orders = [root_keys((seed,), f"{self.stage.name}/order") for seed in self._seeds]
        source, size = self._experiment.data.splits["train"], self._experiment.batch_size
        if self.stage.cache is None:
            return make_feed(source, orders, size, self._minibatches, self._placement)
        return ResidentFeed(self._cached(source), len(source), orders, size, self._minibatches, self._placement)

    def trace(self, target: Placement) -> jax.stages.Traced:
        """Trace one step for other devices, which need not exist; ``finished`` may be shapes and types."""
        if self.stage.cache is not None:
            self._feed = self._uncomputed_feed()
        sent = self._feed.send(0, 1)
        state, keys, finished, constants = self._abstract_on(target), self._keys, self.finished, self._feed.constants
        whole = jax.tree.map(partial(_on, target.replicated), (keys, finished, constants))
        # Everything that is sent is split along one axis, the last that its specification names.
        split = jax.tree.map(lambda a: _on(target.split(len(a.sharding.spec) - 1), a), sent)
        shardings = (jax.tree.map(lambda s: s.sharding, state), target.replicated)
        steps = self._over_seeds(partial(self._many_steps, target), with_state=True)
        return jax.jit(steps, donate_argnums=0, out_shardings=shardings).trace(state, *whole, split)

    def _uncomputed_feed(self) -> Feed:
        """Return a feed of shapes and types of what the stage caches."""
        source, size = self._experiment.data.splits["train"], self._experiment.batch_size
        shapes = jax.eval_shape(self._cache, self._key, self._first, jnp.int32(0), self._experiment.data.batch_spec(1))
        axes = (self._num_seeds,) * int(self._num_seeds > 1)
        constants = jax.tree.map(lambda s: jax.ShapeDtypeStruct((*axes, len(source), *s.shape[1:]), s.dtype), shapes)
        orders = [root_keys((seed,), f"{self.stage.name}/order") for seed in self._seeds]
        return ResidentFeed(constants, len(source), orders, size, self._minibatches, self._placement)

    def _cached(self, source: data.Source) -> PyTree:
        """Return what the stage caches of all examples, arrays ([K,] N, ...) on the device."""
        shapes = jax.eval_shape(self._cache, self._key, self._first, jnp.int32(0), self._experiment.data.batch_spec(1))
        needed = self._num_seeds * len(source) * sum(s.size * s.dtype.itemsize for s in jax.tree.leaves(shapes))
        if needed > RESIDENT_BYTES:
            raise ValueError(
                f"the cache of stage {self.stage.name!r} takes {needed / 1e9:.3g} GB, but at most "
                f"{RESIDENT_BYTES / 1e9:.3g} GB are kept on a device; leave the cache out"
            )
        encode = self._cache if self._num_seeds == 1 else jax.vmap(self._cache, in_axes=(0, 0, None, None))
        encode, size = jit(encode, out_shardings=self._placement.replicated), min(CACHE_BATCH_SIZE, len(source))
        parts = []
        for number, start in enumerate(range(0, len(source), size)):
            rows = np.minimum(np.arange(start, start + size), len(source) - 1)  # one shape is compiled
            batch = self._placement.replicate(source.take(rows))
            parts.append(encode(self._keys, self.finished, jnp.int32(number), batch))
        axis = int(self._num_seeds > 1)
        join = jit(lambda *arrays: jnp.concatenate(arrays, axis)[(slice(None),) * axis + (slice(len(source)),)])
        return jax.tree.map(join, *parts)

    def _cache(self, key: Array, finished: Frozen, number: Array, batch: PyTree) -> PyTree:
        """Return what the stage caches of a batch of data."""
        assert self.stage.cache is not None
        preprocess_key, cache_key = jax.random.split(step_key(stream_key(key, "cache"), number))
        return self.stage.cache(finished)(cache_key, self._experiment.preprocess(preprocess_key, batch))

    @property
    def _key(self) -> jax.ShapeDtypeStruct:
        """Shape and type of the key of one replica."""
        return jax.eval_shape(lambda keys: keys if self._num_seeds == 1 else keys[0], self._keys)

    def init(self) -> TrainState:
        """Return the state before the first step."""
        init = jit(self._over_seeds(self._init), out_shardings=self._shardings())
        return init(*self._arguments(self._feed.send(0, 1)))

    def abstract(self) -> TrainState:
        """Return shapes, dtypes and shardings of the state, computing nothing and reading no data."""
        return self._abstract_on(self._placement)

    @functools.cache  # noqa: B019 - loops live as long as their training
    def _abstract_on(self, placement: Placement) -> TrainState:
        axes = [size for size in (self._num_seeds, self._minibatches) if size > 1]
        batch = self._experiment.data.batch_spec(self._experiment.batch_size)
        if self.stage.cache is not None:
            batch = jax.eval_shape(self._cache, self._key, self._first, jnp.int32(0), batch)
        batch = jax.tree.map(lambda s: jax.ShapeDtypeStruct((*axes, *s.shape), s.dtype), batch)
        init = self._init_on if self._num_seeds == 1 else jax.vmap(self._init_on)
        shapes = jax.eval_shape(init, self._keys, self.finished, batch)
        model = self._experiment.model if self.stage.model is None else self.stage.model
        rules = Rules(tensor_axis=tensor_axis(model), partition=self._experiment.partition)
        offload_optimizer = self._experiment.offload_optimizer
        return placement.place(shapes, rules, self._num_seeds, offload_optimizer=offload_optimizer)

    def _shardings(self) -> PyTree:
        """Return the shardings of the state."""
        return jax.tree.map(lambda s: s.sharding, self.abstract())

    def prepare(self, start_step: int, announce: Callable[[], None] = lambda: None) -> None:
        """Compile the first dispatch, so that data that does not fit the model raises before training.

        ``announce`` is called before compilation, which takes long, once tracing has succeeded.
        """
        self._placement.check_batch(self._experiment.batch_size)
        self._placement.check_memory(self.abstract())
        count = self._next_count(start_step)
        if count and count not in self._compiled:
            arguments = self._arguments(self._feed.send(start_step, count))
            self._dispatch(count, self.abstract(), *arguments, announce=announce)

    def run(
        self,
        state: TrainState,
        start_step: int,
        hooks: Hooks,
        checkpoints: Checkpoints | None,
        snapshots: Checkpoints | None = None,
    ) -> TrainState:
        """Train from ``start_step`` to the stage's last step; ``snapshots`` are of power-function averages.

        Raises:
          NonFiniteError: if a loss or a parameter is not finite.
          Interrupted: if a signal stops training; the state has been saved.
        """
        experiment, steps = self._experiment, self.stage.steps
        names = ("evaluate", "sample", "checkpoint", "snapshot")
        intervals = {name: experiment.interval(f"{name}_every", steps) for name in names}
        step, pending = start_step, None
        self._last_read = time.perf_counter()
        while step < steps:
            count = self._next_count(step)
            arguments = self._arguments(self._feed.send(step, count))
            state, metrics = self._dispatch(count, state, *arguments)(state, *arguments)
            self._read(pending, hooks, checkpoints)
            step, pending = step + count, Pending(step, count, metrics)
            last = step == steps
            held_out = hooks.evaluate(step, state) if step % intervals["evaluate"] == 0 or last else {}
            if hooks.after is not None:  # which needs the state before the next dispatch takes it
                metrics = self._read(pending, hooks, checkpoints)
                pending = None
                if hooks.after(step, metrics | held_out, state) and not last:
                    held_out, last = held_out or hooks.evaluate(step, state), True
            if step % intervals["sample"] == 0 or last:
                hooks.preview(step, state)
            stop_signal = hooks.stop_signal()
            if snapshots is not None and (step % intervals["snapshot"] == 0 or last):
                snapshots.save(step, state.averages, {})
            if step % intervals["checkpoint"] == 0 or last or stop_signal is not None:
                self._read(pending, hooks, checkpoints)
                pending = None
                self._save(step, state, held_out, checkpoints)
            if stop_signal is not None and not last:
                raise Interrupted(f"stopped by {signal.Signals(stop_signal).name} after step {step}", stop_signal)
            if last:
                break
        self.num_steps = step
        return state

    def _next_count(self, step: int) -> int:
        return min(self._experiment.log_every, self.stage.steps - step)

    def _arguments(self, sent: PyTree) -> tuple[Any, ...]:
        return self._keys, self.finished, self._feed.constants, sent

    def _over_seeds(self, function: Callable[..., Any], *, with_state: bool = False) -> Callable[..., Any]:
        """Map a function over replicas; all arguments but resident data have a leading axis of replicas."""
        if self._num_seeds == 1:
            return function
        constants = None if self.stage.cache is None else 0
        return jax.vmap(function, in_axes=((0,) if with_state else ()) + (0, 0, constants, 0))

    def _dispatch(
        self, count: int, *arguments: Any, announce: Callable[[], None] = lambda: None
    ) -> Callable[..., tuple[TrainState, Metrics]]:
        """Return the compiled dispatch of ``count`` steps, the number that the arguments hold batches for."""
        if count not in self._compiled:
            steps, shardings = partial(self._many_steps, self._placement), self._shardings()
            steps = self._over_seeds(steps, with_state=True)
            settings: dict[str, Any] = {"out_shardings": (shardings, self._placement.replicated)}
            program = jax.jit(steps, donate_argnums=0, compiler_options=compiler_options(), **settings)
            traced = program.trace(*arguments)
            self._check_dtype(traced)
            lowered = traced.lower()
            devices = self._placement.describe_devices(jax.default_backend())
            name = f"{count} steps, {devices}, jax {jax.__version__}"
            self.programs[name] = zlib.crc32(lowered.as_text().encode())
            announce()
            self._compiled[count] = lowered.compile()
        return self._compiled[count]

    def _check_dtype(self, traced: jax.stages.Traced) -> None:
        """Warn if no product of this stage has the dtype of the experiment, because its model has no networks."""
        dtype = self._experiment.dtype
        if dtype != "float32" and not self._compiled and not count_flops(traced.jaxpr, dtype):
            warnings.warn(
                f"dtype is {dtype!r}, but stage {self.stage.name!r} has no network that it applies to: all of it is "
                "computed in float32",
                TrainingWarning,
                stacklevel=2,
            )

    def _many_steps(
        self,
        placement: Placement,
        state: TrainState,
        key: Array,
        finished: Frozen,
        constants: PyTree,
        sent: PyTree,
    ) -> tuple[TrainState, Metrics]:
        learner = self.stage.learner(finished)
        train_stream = stream_key(key, "train")
        placed = self._abstract_on(placement)

        def body(state: TrainState, sent: PyTree) -> tuple[TrainState, Metrics]:
            batch = self._learner_batch(key, finished, self._feed.pick(constants, sent), state.step)
            batch = placement.spread(batch, axis=int(self._minibatches > 1))
            params = placement.gather(state.params, placed.params, self._num_seeds)
            state = state.replace(params=params, opt_state=to_device(state.opt_state, placed.opt_state))
            with computing(self._experiment.dtype, self._experiment.remat):
                state, metrics = learner.step(state, step_key(train_stream, state.step), batch)
            return state.replace(opt_state=to_host(state.opt_state, placed.opt_state)), metrics

        return jax.lax.scan(body, state, sent)

    def _init(self, key: Array, finished: Frozen, constants: PyTree, sent: PyTree) -> TrainState:
        return self._init_on(key, finished, self._feed.pick(constants, replica(sent, 0)))

    def _init_on(self, key: Array, finished: Frozen, batch: PyTree) -> TrainState:
        """Return the state before the first step, from raw examples of that step."""
        batch = self._learner_batch(key, finished, batch, jnp.int32(0))
        if self._minibatches > 1:
            batch = replica(batch, 0)
        return self.stage.learner(finished).init(stream_key(key, "init"), batch)

    def _learner_batch(self, key: Array, finished: Frozen, batch: PyTree, step: Array) -> PyTree:
        """Return the batch that the learner takes at one step, from examples of the feed."""
        to_stage = self.stage.batch(finished)

        def prepare(key: Array, batch: PyTree) -> PyTree:
            preprocess_key, stage_key = jax.random.split(key)
            if self.stage.cache is not None:  # whose results are preprocessed
                return to_stage(stage_key, batch)
            return to_stage(stage_key, self._experiment.preprocess(preprocess_key, batch))

        key = step_key(stream_key(key, "batch"), step)
        if self._minibatches == 1:
            return prepare(key, batch)
        return jax.vmap(prepare)(jax.random.split(key, self._minibatches), batch)

    def _read(self, pending: Pending | None, hooks: Hooks, checkpoints: Checkpoints | None) -> dict[str, Any]:
        """Wait for the metrics of a dispatch, raise if a loss is not finite, log their means and return them."""
        if pending is None:
            return {}
        _wait(pending.metrics)
        metrics = {name: np.asarray(values, np.float64) for name, values in pending.metrics.items()}
        for name, values in metrics.items():
            if name.rpartition("/")[2] == "loss" and not np.isfinite(values).all():
                first = int(np.argmax(~np.isfinite(values).reshape(-1, values.shape[-1]).all(axis=0)))
                losses = values[..., first].ravel()
                index = int(np.argmax(~np.isfinite(losses)))
                seed = f" (replica {index})" if self._num_seeds > 1 else ""
                raise NonFiniteError(
                    f"{name} became {losses[index]} at step {pending.step + first + 1}{seed}; "
                    f"{_last_checkpoint(checkpoints)}; "
                    "lower the learning rate, clip gradients, or check the data's scale"
                )
        # Timed from one reading to the next, so that evaluation and previews count, as they do for the user.
        now = time.perf_counter()
        rate = np.float64(pending.count / (now - self._last_read))
        self._last_read = now
        means = {name: values.mean(axis=-1) for name, values in metrics.items()}
        hooks.log_metrics(pending.step + pending.count, means | {"steps_per_second": rate})
        return means

    def _save(
        self, step: int, state: TrainState, held_out: dict[str, np.ndarray], checkpoints: Checkpoints | None
    ) -> None:
        # The last update of a dispatch can make parameters non-finite although its loss is finite.
        if not bool(self._finite(state.params)):
            raise NonFiniteError(
                f"parameters stopped being finite by step {step}; {_last_checkpoint(checkpoints)}; "
                "lower the learning rate, or clip gradients"
            )
        if checkpoints is not None:
            metrics = {name: float(np.mean(value)) for name, value in held_out.items()}
            checkpoints.save(step, state, metrics, self.programs)


def _num_minibatches(stage: Stage, finished: Frozen) -> int:
    """Return the number of minibatches of a learner step, from variables or from their shapes and types."""
    numbers: list[int] = []
    jax.eval_shape(lambda finished: numbers.append(stage.learner(finished).minibatches), dict(finished))
    return numbers[0]


def _on(sharding: jax.sharding.Sharding, array: Any) -> jax.ShapeDtypeStruct:
    """Return shape and type of an array with another sharding."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _wait(metrics: Metrics) -> None:
    """Wait for metrics in sleeps, which signals interrupt; reading an array answers none until it is computed."""
    seconds = 1e-4
    while not all(array.is_ready() for array in jax.tree.leaves(metrics)):
        time.sleep(seconds)
        seconds = min(2 * seconds, MAX_POLLING_SECONDS)


def _last_checkpoint(checkpoints: Checkpoints | None) -> str:
    """Describe the last finite checkpoint in an error message."""
    if checkpoints is None:
        return "there is no checkpoint, because the run has no folder"
    try:
        checkpoints.wait()
    except CheckpointError as error:
        return str(error)
    steps = checkpoints.steps()
    return f"the last finite checkpoint is that of step {steps[-1]}" if steps else "no checkpoint had been written yet"


@contextlib.contextmanager
def record_stop_signals() -> Iterator[StopSignal]:
    """Yield a function that returns the signal to stop that any process has received, or None.

    These are SIGTERM, SIGINT, and what schedulers send, SIGHUP and SIGUSR1, unless the program ignores or handles them
    itself. A second SIGINT interrupts at once.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        del frame
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        hint = " (Ctrl-C again: at once)" if number == signal.SIGINT else ""
        with contextlib.suppress(OSError):  # print is not safe in a handler
            os.write(2, f"\nstopping after this dispatch{hint}\n".encode())

    def stop_signal() -> int | None:
        latest = received[-1] if received else 0
        if jax.process_count() > 1:
            latest = int(np.max(multihost_utils.process_allgather(np.int32(latest))))
        return latest or None

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            free = [number for number in SCHEDULER_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
            for number in (signal.SIGTERM, signal.SIGINT, *free):
                stack.callback(signal.signal, number, signal.signal(number, receive))
        yield stop_signal
