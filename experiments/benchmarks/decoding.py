"""Speed of drawing images pixel by pixel: cached steps against recomputing everything, and against naive PyTorch.

    python experiments/benchmarks/decoding.py [--json]

Gated PixelCNN of 8 layers and 64 channels, 16 binary images of 28 x 28 pixels, in the same process on two threads, in
turns. "Recomputing" is the whole network for every pixel, compiled, in one loop; PyTorch is the same network, eager, as
its users write it. Both take the same time for every pixel, so that one row of 28 pixels is timed, and counted 28
times.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio

from genjax import autoregressive

SIZE, LAYERS, FEATURES, REACH, IMAGES = 28, 8, 64, 2, 16


def of_genjax() -> tuple[Callable[[], float], Callable[[], float]]:
    """Seconds for all images by cached steps, and by the whole network for every pixel."""
    settings = {"num_layers": LAYERS, "features": FEATURES, "reach": REACH}
    model = autoregressive.gated_pixel_cnn(shape=(SIZE, SIZE, 1), **settings)
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, SIZE, SIZE, 1), jnp.int32)})
    params = variables.params["net"]
    cached = jax.jit(lambda variables, key: model.sample(variables, key, IMAGES))
    sampling = autoregressive.Sampling()

    @jax.jit
    def row(params, key):
        def pixel(x, now):
            column, uniform = now
            logits = model.net.apply({"params": params}, x)[:, 0, column]
            return x.at[:, 0, column, 0].set(sampling.draw(logits, uniform).astype(jnp.float32)), None

        uniforms = jax.random.uniform(key, (SIZE, IMAGES))
        return jax.lax.scan(pixel, jnp.zeros((IMAGES, SIZE, SIZE, 1)), (jnp.arange(SIZE), uniforms))[0]

    return (
        timed(lambda: cached(variables, jax.random.key(1)).block_until_ready(), 1),
        timed(lambda: row(params, jax.random.key(1)).block_until_ready(), SIZE),
    )


def of_torch() -> Callable[[], float]:
    """Seconds for all images, the whole network for every pixel."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)

    class Layer(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.vertical = nn.Conv2d(channels, 2 * FEATURES, (REACH + 1, 2 * REACH + 1))
            self.horizontal = nn.Conv2d(channels, 2 * FEATURES, (1, REACH + 1))
            self.link = nn.Conv2d(2 * FEATURES, 2 * FEATURES, 1)
            self.residual = nn.Conv2d(FEATURES, FEATURES, 1)
            self.skip = nn.Conv2d(FEATURES, FEATURES, 1)

        def forward(self, v, h):
            vertical = self.vertical(nn.functional.pad(v, (REACH, REACH, REACH, 0)))
            horizontal = self.horizontal(nn.functional.pad(h, (REACH, 0, 0, 0))) + self.link(vertical)
            v, gated = (a.tanh() * b.sigmoid() for a, b in (vertical.chunk(2, 1), horizontal.chunk(2, 1)))
            residual = self.residual(gated)
            return v, residual if h.shape[1] == 1 else h + residual, self.skip(gated)

    layers = nn.ModuleList([Layer(1 if i == 0 else FEATURES) for i in range(LAYERS)])
    head = nn.Sequential(nn.ReLU(), nn.Conv2d(FEATURES, FEATURES, 1), nn.ReLU(), nn.Conv2d(FEATURES, 2, 1))

    def network(x):
        v, h = nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1], nn.functional.pad(x, (1, 0))[..., :-1]
        total = 0
        for layer in layers:
            v, h, skip = layer(v, h)
            total = total + skip
        return head(total)

    def row() -> None:
        with torch.no_grad():
            x = torch.zeros(IMAGES, 1, SIZE, SIZE)
            for column in range(SIZE):
                probs = network(x)[:, :, 0, column].softmax(1)
                x[:, 0, 0, column] = torch.multinomial(probs, 1)[:, 0].float()

    return timed(row, SIZE)


def timed(run: Callable[[], object], times: int) -> Callable[[], float]:
    """Return a contestant that reports seconds, so many times over."""

    def seconds() -> float:
        started = time.perf_counter()
        run()
        return times * (time.perf_counter() - started)

    return seconds


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=3)
    cached, recomputed = of_genjax()
    contestants = {"cached": cached, "recomputed": recomputed}
    if importlib.util.find_spec("torch") is not None:
        contestants["torch"] = of_torch()
    seconds = interleaved(contestants, repeats=options.repeats)
    targets = {"recomputed": ">= 30", "torch": ">= 20"}
    rows = []
    for rival in [name for name in contestants if name != "cached"]:
        times = f"{rival}, {milliseconds(seconds[rival])}; {milliseconds(seconds['cached'])}"
        rows.append(
            Row(
                f"16 images by gated PixelCNN: {rival} / cached", ratio(seconds, rival, "cached"), targets[rival], times
            )
        )
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
