"""Data larger than memory: training on a mapped file under a limit of memory, against a small resident set.

    taskset -c 1 python experiments/benchmarks/streaming.py --folder FOLDER [--json] [--gigabytes 8]

A file of 32 × 32 colour images, 8 GB by default, is written into FOLDER and dropped from the cache of the system, and
deleted in the end. The process may allocate 2 GB (``RLIMIT_DATA``), which is checked against its anonymous memory. A
VAE (3072-256-16) trains on that file and on 8,000 images in memory, in turns; each turn on the file reads examples
that no turn before it has read. Ratios of seconds per step are medians over turns.

With --steps 40 --repeats 7: 1.06 times the seconds of resident data, and 0.94 GB of anonymous memory (the worse of two
runs); one seed, one of two CPU cores, 3 min.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio

from genjax import data, nets, ops, vae
from genjax.data import Dataset
from genjax.runner import Experiment, Interrupted
from genjax.runner.loop import Hooks, StageLoop
from genjax.sharding import Placement

SHAPE, BATCH, LOG_EVERY = (32, 32, 3), 128, 20
LIMIT = 2 * 10**9  # bytes
NUM_RESIDENT = 8_000


def write_images(path: Path, num_bytes: int) -> None:
    """Write random images block by block, and drop them from the cache of the system."""
    count = num_bytes // int(np.prod(SHAPE))
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *SHAPE))
    rng = np.random.default_rng(0)
    for start in range(0, count, 16_384):
        block = images[start : start + 16_384]
        block[:] = np.frombuffer(rng.bytes(block.size), np.uint8).reshape(block.shape)
    images.flush()
    del images, block
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def experiment(dataset: Dataset) -> Experiment:
    """Return the experiment, which never ends by itself."""
    model = vae.VAE(
        latent_dim=16,
        encoder=nets.MLP(features=(256, 32)),
        decoder=nets.MLP(features=(256, 3_072), output_shape=SHAPE),
        likelihood=ops.Bernoulli(),
    )
    return Experiment(
        model=model,
        data=dataset,
        preprocess=data.dynamic_binarization(levels=256),
        optimizer=optax.adam(1e-3),
        steps=10**6,
        batch_size=BATCH,
        log_every=LOG_EVERY,
    )


def training(dataset: Dataset, steps: int) -> Callable[[], float]:
    """Return a contestant that trains ``steps`` more steps and reports the seconds of one."""
    of = experiment(dataset)
    loop = StageLoop(of, of.plan()[0], {}, (0,), Placement())
    loop.prepare(0)
    initial, start = loop.init(), 0

    def run() -> float:
        nonlocal start
        dispatches, state = 0, jax.tree.map(jnp.copy, initial)  # which training donates
        jax.block_until_ready(state)

        def stop_signal() -> int | None:
            nonlocal dispatches
            dispatches += 1
            return signal.SIGTERM if dispatches * LOG_EVERY >= steps else None

        hooks = Hooks(
            log_metrics=lambda *_: None, evaluate=lambda *_: {}, preview=lambda *_: None, stop_signal=stop_signal
        )
        started = time.perf_counter()
        with contextlib.suppress(Interrupted):
            loop.run(state, start, hooks, None)
        seconds = time.perf_counter() - started
        start += dispatches * LOG_EVERY
        return seconds / (dispatches * LOG_EVERY)

    return run


def anonymous_bytes() -> int:
    """Return the memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Within the block, collect the anonymous memory of this process, ten times a second."""
    samples, done = [anonymous_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            samples.append(anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def main() -> None:
    """Print the table."""
    options = arguments(
        str(__doc__),
        repeats=5,
        folder={"type": Path, "default": None, "help": "folder of the file; the system's temporary one by default"},
        gigabytes={"type": float, "default": 8.0, "help": "size of the file"},
        steps={"type": int, "default": 100, "help": "steps of one turn"},
    )
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    small = np.random.default_rng(1).integers(0, 256, (NUM_RESIDENT, *SHAPE), dtype=np.uint8)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, peak_memory() as memory:
        path = Path(folder) / "images.npy"
        write_images(path, int(options.gigabytes * 10**9))
        contestants = {
            "streamed": training(data.npy(path, resident=False), options.steps),
            "resident": training(data.arrays(small), options.steps),
        }
        seconds = interleaved(contestants, repeats=options.repeats)
    if not options.json:
        print({name: milliseconds(each) for name, each in seconds.items()}, f"peak {max(memory) / 1e9:.2f} GB")
    size, slowest = f"{options.gigabytes:g} GB", f"{statistics.median(seconds['resident']) * 1e3:.1f} ms resident"
    print_rows(
        Row(
            f"step of a VAE, data of {size} streamed / resident",
            ratio(seconds, "streamed", "resident"),
            "<= 1.10",
            slowest,
        ),
        Row("peak anonymous memory / limit of 2 GB", max(memory) / LIMIT, "<= 1", "RLIMIT_DATA"),
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
