"""Speed of a small WaveNet: sampling with ring buffers against recomputation and naive PyTorch; a training step.

    python experiments/benchmarks/wavenet.py [--json]

Ten layers of 32 channels with dilations 1 … 512, a receptive field of 1,024 values, and 256 levels (µ-law codes), in
the same process on two threads, in turns. Sampling draws one sequence of 8,000 values, a second at 8 kHz, and one of
2,000.

"Recomputed" runs our whole network, compiled, on the receptive field of each value. From 1,024 values on, all values
take equal time, so that 100 of them are timed and extrapolated to all. PyTorch does the same in eager mode, as its
users write it; all its 2,000 values are timed, the first ones on the values so far. It runs on one thread and on two,
and the better median counts.

Training: windows of 2,048 values, batches of 4, Adam; a chunk of steps in one dispatch against as many steps of
PyTorch, whose network uses dilated convolutions.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any, cast

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's threads would spin for minutes on shared cores

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, steps_of, timed

from genjax import autoregressive, gradient_learner

LAYERS, FEATURES, SKIP, LEVELS = 10, 32, 32, 256
SECOND, SHORT, TIMED = 8_000, 2_000, 100
WINDOW, BATCH, STEPS = 2_048, 4, 5


def model_of(length: int) -> autoregressive.CausalModel:
    """Return the WaveNet of the PyTorch model below."""
    sizes = {"num_layers": LAYERS, "features": FEATURES, "skip_features": SKIP}
    return autoregressive.wavenet(shape=(length,), num_values=LEVELS, **sizes)


FIELD = cast(Any, model_of(WINDOW).net).receptive_field


def drawing_of_genjax() -> dict[str, Callable[[], float]]:
    """Return contestants that sample sequences, with cached steps and with full recomputation."""
    models = {length: model_of(length) for length in (SECOND, SHORT)}
    variables = jax.jit(models[SHORT].init)(jax.random.key(0), {"x": jnp.zeros((1, SHORT), jnp.int32)})
    net, sampling = models[SHORT].net, autoregressive.Sampling()

    def of_length(length: int) -> Callable[[], float]:
        draw = jax.jit(lambda variables, key: models[length].sample(variables, key, 1))
        return timed(lambda: draw(variables, jax.random.key(1)).block_until_ready(), 1)

    @jax.jit
    def recomputed(params: Any, key: jax.Array) -> jax.Array:
        def value(x: jax.Array, uniform: jax.Array) -> tuple[jax.Array, None]:
            """Draw the value after the window and shift the window; the network sees all but the last value."""
            inputs = jnp.pad(x.astype(jnp.float32) / (LEVELS - 1), ((0, 0), (0, 1)))[..., None]
            drawn = sampling.draw(net.apply({"params": params}, inputs)[:, -1], uniform[None])
            return jnp.concatenate([x[:, 1:], drawn[:, None]], axis=1), None

        return jax.lax.scan(value, jnp.zeros((1, FIELD), jnp.int32), jax.random.uniform(key, (TIMED,)))[0]

    return {
        "second": of_length(SECOND),
        "recomputed": timed(
            lambda: recomputed(variables.params["net"], jax.random.key(1)).block_until_ready(), SECOND / TIMED
        ),
        "short": of_length(SHORT),
    }


def of_torch(data: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return contestants for a step and for a short sequence, on one thread and on two."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    class Layer(nn.Module):
        def __init__(self, dilation: int, last: bool) -> None:
            super().__init__()
            self.dilation = dilation
            self.taps = nn.Conv1d(FEATURES, 2 * FEATURES, 2, dilation=dilation)
            self.residual = None if last else nn.Conv1d(FEATURES, FEATURES, 1)
            self.skip = nn.Conv1d(FEATURES, SKIP, 1)

        def forward(self, h):
            a, b = self.taps(fn.pad(h, (self.dilation, 0))).chunk(2, 1)
            gated = a.tanh() * b.sigmoid()
            return h if self.residual is None else h + self.residual(gated), self.skip(gated)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv1d(1, FEATURES, 1)
            self.layers = nn.ModuleList([Layer(2**i, i == LAYERS - 1) for i in range(LAYERS)])
            self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(SKIP, SKIP, 1), nn.ReLU(), nn.Conv1d(SKIP, LEVELS, 1))

        def forward(self, x):
            """Return logits of the value after each value of x, shape (B, T)."""
            h, total = self.first(x[:, None].float() / (LEVELS - 1)), 0
            for layer in self.layers:
                h, skip = layer(h)
                total = total + skip
            return self.head(total)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    batches = [torch.tensor(x.astype(np.int64)) for x in data]

    def train() -> None:
        for x in batches:
            loss = fn.cross_entropy(net(fn.pad(x, (1, 0))[:, :-1]), x)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def draw() -> None:
        x = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(SHORT):
            probs = net(x[:, -FIELD:])[:, :, -1].softmax(1)
            x = torch.cat([x, torch.multinomial(probs, 1)], 1)

    def in_threads(number: int, run: Callable[[], None]) -> Callable[[], None]:
        def with_them() -> None:
            torch.set_num_threads(number)
            run()

        return with_them

    runs: dict[str, tuple[Callable[[], None], float]] = {"train": (train, 1 / STEPS), "short": (draw, 1)}
    return {
        f"{name}, torch in {threads}": timed(in_threads(threads, run), times)
        for name, (run, times) in runs.items()
        for threads in (1, 2)
    }


def row(name: str, target: str, seconds: Mapping[str, list[float]], rivals: list[str], ours: str) -> Row:
    """Return the row of the ratio to the best rival."""
    best = min(rivals, key=lambda rival: statistics.median(seconds[rival]))
    times = f"{best}, {milliseconds(seconds[best])}; {milliseconds(seconds[ours])}"
    return Row(name, ratio(seconds, best, ours), target, times)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=3)
    data = np.random.default_rng(0).integers(0, LEVELS, (STEPS, BATCH, WINDOW)).astype(np.int32)
    learner = gradient_learner(model_of(WINDOW), optax.adam(1e-3))
    training, drawing = {"train": steps_of(learner, data)}, drawing_of_genjax()
    if importlib.util.find_spec("torch") is not None:
        theirs = of_torch(data)
        training |= {name: run for name, run in theirs.items() if name.startswith("train")}
        drawing |= {name: run for name, run in theirs.items() if name.startswith("short")}
    seconds = interleaved(drawing, repeats=options.repeats)
    seconds |= interleaved(training, repeats=options.repeats)
    rows = [row(f"{SECOND:,} values: recomputed / cached", ">= 20", seconds, ["recomputed"], "second")]
    names = {
        "short": (f"{SHORT:,} values: torch / cached", ">= 20"),
        "train": ("a training step: torch / genjax", "stated"),
    }
    for ours, (name, target) in names.items():
        rivals = [rival for rival in seconds if rival.startswith(f"{ours}, torch")]
        if rivals:
            rows.append(row(name, target, seconds, rivals, ours))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
