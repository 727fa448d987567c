"""Overhead of the runner: its loop against hand-written ones, its import, and its second start.

    python experiments/benchmarks/throughput.py [--json]

Every row is a ratio to a rival measured in the same run, in turns: the median of several repeats.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, print_rows, ratio

from genjax import data, nets, ops, vae
from genjax.core import step_key, stream_key
from genjax.runner import Experiment, Interrupted
from genjax.runner.log import MetricLog
from genjax.runner.loop import Hooks, StageLoop
from genjax.sharding import Placement

STEPS, LOG_EVERY, BATCH = 2000, 100, 128


def digits_experiment() -> Experiment:
    """Return the experiment of the loops, a VAE (64-256-16) on digits."""
    model = vae.VAE(
        latent_dim=16,
        encoder=nets.MLP(features=(256, 32)),
        decoder=nets.MLP(features=(256, 64), output_shape=(8, 8, 1)),
        likelihood=ops.Bernoulli(),
    )
    return Experiment(
        model=model,
        data=data.digits(),
        preprocess=data.dynamic_binarization(levels=17),
        optimizer=optax.adam(1e-3),
        steps=STEPS,
        batch_size=BATCH,
        log_every=LOG_EVERY,
    )


def runner_loop(experiment: Experiment) -> Callable[[], float]:
    """Return the runner's loop with its log on disk, without evaluation, pictures and checkpoints."""
    stage = experiment.plan()[0]
    loop = StageLoop(experiment, stage, {}, (0,), Placement())
    loop.prepare(0)

    def run() -> float:
        state = loop.init()
        jax.block_until_ready(state)
        with tempfile.TemporaryDirectory() as folder:
            log = MetricLog(Path(folder))
            hooks = Hooks(
                log_metrics=log.write, evaluate=lambda *_: {}, preview=lambda *_: None, stop_signal=lambda: None
            )
            started = time.perf_counter()
            jax.block_until_ready(loop.run(state, 0, hooks, None))
            seconds = time.perf_counter() - started
            log.close()
        return seconds

    return run


def bare_loop(experiment: Experiment, chunk: int) -> Callable[[], float]:
    """Return a loop by hand: ``chunk`` steps of optax on ``model.loss`` in one donated ``jit``."""
    model, optimizer = experiment.model, optax.adam(1e-3)
    source = experiment.data.splits["train"]
    arrays = {name: jnp.asarray(array) for name, array in source.arrays.items()}  # pyright: ignore
    key = jax.random.key(0)

    def body(carry: tuple, indices: jax.Array) -> tuple:
        params, state, opt_state, step = carry
        batch_key, train_key = step_key(stream_key(key, "batch"), step), step_key(stream_key(key, "train"), step)
        batch = {name: jnp.take(array, indices, axis=0, mode="clip") for name, array in arrays.items()}
        batch = experiment.preprocess(batch_key, batch)
        (loss, (state, metrics)), grads = jax.value_and_grad(model.loss, has_aux=True)(  # pyright: ignore
            params, state, train_key, batch, step
        )
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state, step + 1), {"loss": loss} | metrics

    many = jax.jit(lambda carry, indices: jax.lax.scan(body, carry, indices), donate_argnums=0)
    one = jax.jit(body, donate_argnums=0)
    compiled = many if chunk > 1 else one
    rng = np.random.default_rng(0)
    size = len(source)

    def run() -> float:
        params, state = model.init(key, experiment.preprocess(key, {n: a[:BATCH] for n, a in arrays.items()}))
        carry = (params, state, optimizer.init(params), jnp.int32(0))
        jax.block_until_ready(carry)
        started = time.perf_counter()
        for _ in range(0, STEPS, chunk):
            shape = (chunk, BATCH) if chunk > 1 else (BATCH,)
            carry, metrics = compiled(carry, rng.integers(size, size=shape, dtype=np.int32))
        jax.block_until_ready((carry, metrics))
        return time.perf_counter() - started

    return run


def import_seconds(statement: str) -> float:
    """Return the seconds of a statement in a fresh interpreter, without its start."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def start_seconds(cache: str) -> float:
    """Return the seconds from process start to the end of the first dispatch, for a cache folder."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import jax; import throughput;"
        "from genjax.compilation import enable_compilation_cache; enable_compilation_cache();"
        "run = throughput.first_dispatch()"
    )
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": cache},
    )
    return time.perf_counter() - started


def first_dispatch() -> None:
    """Train one dispatch of the digits VAE, as ``train`` does."""
    experiment = digits_experiment()
    loop = StageLoop(experiment, experiment.plan()[0], {}, (0,), Placement())
    loop.prepare(0)
    hooks = Hooks(log_metrics=lambda *_: None, evaluate=lambda *_: {}, preview=lambda *_: None, stop_signal=lambda: 15)
    with contextlib.suppress(Interrupted):
        loop.run(loop.init(), 0, hooks, None)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=9)
    experiment = digits_experiment()
    loops = {
        "runner": runner_loop(experiment),
        "bare": bare_loop(experiment, LOG_EVERY),
        "single": bare_loop(experiment, 1),
    }
    seconds = interleaved(loops, repeats=options.repeats)
    base = "import jax, flax.linen, optax"
    imports = [import_seconds(f"{base}; import genjax") - import_seconds(base) for _ in range(7)]
    with tempfile.TemporaryDirectory() as scratch:
        colds = [start_seconds(f"{scratch}/{i}") for i in range(3)]
        warms = [start_seconds(f"{scratch}/{i}") for i in range(3)]
    cold, warm = statistics.median(colds), statistics.median(warms)
    print_rows(
        Row(
            "step of digits VAE: runner / bare loop", ratio(seconds, "runner", "bare"), "<= 1.05", "jit + scan by hand"
        ),
        Row(
            "step of digits VAE: one dispatch each / runner",
            ratio(seconds, "single", "runner"),
            ">= 1.2",
            "jit by hand",
        ),
        Row("import genjax, seconds beyond its dependencies", statistics.median(imports), "<= 0.3", base),
        Row("second start / cold start", warm / cold, "<= 0.6", f"empty compilation cache, {cold:.1f} s"),
        Row("second start, seconds", warm, "about 6", "process start to the end of the first dispatch"),
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
