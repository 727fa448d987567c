"""Throughput and latency of ``genjax serve``, against calling the exported program directly at batch 32.

    taskset -c 0,1 python experiments/benchmarks/serving.py [--json] [--requests 10000]

The networks of ``vae_digits`` and ``gpt_shakespeare`` are exported with initial weights. Another process serves them
on loopback, and the clients in this process share its two cores. Each client sends its next request when the previous
one is answered. Three measurements alternate: direct calls of the program on 32 rows, requests of one row as JSON, and
requests of 32 rows answered as npy. Then the VAE receives 10,000 requests, every tenth of them malformed: all must be
answered, malformed ones by 4xx, and memory must stay flat. The start is that of a process that loads a folder and draws
one sample.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import Row, arguments, print_rows

from genjax import Experiment, autoregressive, data
from genjax.compilation import jit
from genjax.core import Learner, Variables
from genjax.export import export_run, load
from genjax.runner import Run, load_experiment_fn

BATCH, LENGTH, PORT = 32, 64, 8799
SECONDS = {"digits VAE": 3.0, "GPT": 10.0}  # of one turn
EXPERIMENTS = Path(__file__).parents[1]
ONE = b'{"seed": 1}'
BULK = b'{"seed": 1, "num_samples": 32}'
MALFORMED = (b"{", b"[1]", b'{"num_samples": -1}', b'{"x": 1}', b'{"seed": "a"}', b'{"num_samples": 1000000}', b"\xff")


def make_run(model: Any, x: np.ndarray) -> Run:
    """Return a run with initial weights."""
    experiment = Experiment(
        model=model,
        data=data.arrays(x, name="benchmark"),
        learner=Learner(lambda *_: None, lambda *_: (None, {})),  # type: ignore[arg-type, return-value]
        steps=1,
        batch_size=1,
    )
    variables: Variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.asarray(x)})
    return Run(experiment=experiment, variables=variables, seeds=(0,), step=0, rows=(), folder=None)


def runs() -> dict[str, Run]:
    """Return the runs by name."""
    vae = load_experiment_fn(EXPERIMENTS / "vae_digits.py")().model
    gpt = autoregressive.GPT(
        num_values=256,
        length=LENGTH,
        num_layers=4,
        num_heads=4,
        features=128,
        positions="rotary",
        qk_norm=True,
        use_bias=False,
    )
    return {
        "digits VAE": make_run(vae, np.zeros((2, 8, 8, 1), np.float32)),
        "GPT": make_run(gpt, np.zeros((2, LENGTH), np.int32)),
    }


def directly(folder: Path, duration: float) -> Callable[[], float]:
    """Return a function that measures rows per second of the program, called on 32 rows."""
    sample = load(folder, jit)["sample"]
    keys = np.stack([np.zeros(BATCH, np.uint32), np.arange(BATCH, dtype=np.uint32)], axis=1)
    np.asarray(sample(key=keys))

    def rate() -> float:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < duration:
            np.asarray(sample(key=keys))
            calls += 1
        return BATCH * calls / (time.perf_counter() - start)

    return rate


def post(body: bytes, accept: str) -> bytes:
    """Return a request."""
    head = f"POST /sample HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def client(requests: Callable[[], bytes | None], answers: list[tuple[int, float]]) -> None:
    """Send requests over one connection until there are no more, and append status and seconds of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    while (request := requests()) is not None:
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head, re.IGNORECASE)
        assert length, head
        await reader.readexactly(int(length[1]))
        answers.append((int(head.split()[1]), time.perf_counter() - start))
    writer.close()


async def load_server(num_clients: int, requests: Callable[[], bytes | None]) -> tuple[list[tuple[int, float]], float]:
    """Return status and seconds of every request, and the seconds of all."""
    answers: list[tuple[int, float]] = []
    start = time.perf_counter()
    await asyncio.gather(*[client(requests, answers) for _ in range(num_clients)])
    return answers, time.perf_counter() - start


def served(
    body: bytes, rows: int, accept: str, num_clients: int, duration: float, latencies: list[float]
) -> Callable[[], float]:
    """Return a function that measures rows per second of the server, and stores latencies."""
    request = post(body, accept)

    def rate() -> float:
        end = time.perf_counter() + duration
        answers, took = asyncio.run(load_server(num_clients, lambda: request if time.perf_counter() < end else None))
        assert {status for status, _ in answers} == {200}
        latencies.extend(seconds for _, seconds in answers)
        return rows * len(answers) / took

    return rate


def soak(count: int, as_json: bool) -> list[Row]:
    """Send many requests, every tenth of them malformed, and return rows about answers and memory."""
    queue = iter(range(count))

    def requests() -> bytes | None:
        number = next(queue, None)
        if number is None:
            return None
        body = MALFORMED[number // 10 % len(MALFORMED)] if number % 10 == 0 else (ONE, BULK)[number % 2]
        return post(body, "application/json")

    memory = [resident()]
    answers, took = asyncio.run(load_server(16, requests))
    memory.append(resident())
    statuses = Counter(status for status, _ in answers)
    seconds = np.array([each for _, each in answers])
    if not as_json:
        print(
            f"{count} requests in {took:.1f} s: {dict(statuses)}; {memory[0]:.1f} MB before, {memory[1]:.1f} MB after"
        )
    return [
        Row("requests answered as they must be, share", _expected(statuses, count), "1", "all of them"),
        Row("p99 of these requests, seconds", float(np.quantile(seconds, 0.99)), "-", "-"),
        Row("resident memory after them", memory[1] / memory[0], "<= 1.05", "before"),
    ]


def _expected(statuses: Counter[int], count: int) -> float:
    malformed = -(-count // 10)
    return (min(statuses[400], malformed) + min(statuses[200], count - malformed)) / count


def resident() -> float:
    """Return the resident memory of the server in MB."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics") as response:
        text = response.read().decode()
    return int(re.search(r"process_resident_memory_bytes (\d+)", text)[1]) / 1e6  # type: ignore[index]


def start_server(folder: Path) -> subprocess.Popen[str]:
    """Start the server of a folder, and return when it answers."""
    command = [sys.executable, "-m", "genjax", "serve", str(folder), "--port", str(PORT), "--sizes", "1", "32", "128"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health") as response:
                assert json.load(response)["status"] == "ok"
            return process
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
    raise TimeoutError("the server did not start")


def first_sample(folder: Path, repeats: int) -> float:
    """Return the median of the seconds until a new process has loaded a folder and drawn one sample."""
    code = "import numpy, load; numpy.asarray(load.load()['sample'](key=numpy.array([[0, 1]], numpy.uint32)))"
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(name: str, folder: Path, repeats: int, requests: int, as_json: bool) -> list[Row]:
    """Return the rows of one model."""
    rows = [Row(f"{name}: start to first sample, seconds", first_sample(folder, repeats), "<= 3", "-")]
    duration, small, bulk = SECONDS[name], [], []
    direct = directly(folder, duration)
    server = start_server(folder)
    try:
        contestants = {
            "direct": direct,
            "1 row": served(ONE, 1, "application/json", 64, duration, small),
            "32 rows": served(BULK, BATCH, "application/x-npy", 16, duration, bulk),
        }
        rates: dict[str, list[float]] = {key: [] for key in contestants}
        for _ in range(repeats):
            for key, rate in contestants.items():
                rates[key].append(rate())
        if not as_json:
            print(name, {key: f"{statistics.median(each):,.0f} samples/s" for key, each in rates.items()})
        for key, latencies in (("1 row", small), ("32 rows", bulk)):
            share = statistics.median(a / b for a, b in zip(rates[key], rates["direct"], strict=True))
            rows.append(Row(f"{name}: throughput of requests of {key}", share, ">= 0.8", "the program at batch 32"))
            rows.append(Row(f"{name}: p99 of requests of {key}, seconds", _p99(latencies), "-", "-"))
        return rows + (soak(requests, as_json) if name == "digits VAE" else [])
    finally:
        server.terminate()
        server.wait(30)


def _p99(latencies: Sequence[float]) -> float:
    return float(np.quantile(np.asarray(latencies), 0.99))


def main() -> None:
    """Print the table."""
    settings = arguments(
        str(__doc__), repeats=3, requests={"type": int, "default": 10_000, "help": "number of requests to the VAE"}
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, run in runs().items():
            path = Path(folder) / name.replace(" ", "_")
            export_run(run, path, what=("sample",))
            rows += measure(name, path, settings.repeats, settings.requests, settings.json)
    print_rows(*rows, as_json=settings.json)


if __name__ == "__main__":
    main()
