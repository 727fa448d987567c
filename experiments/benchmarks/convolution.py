"""Speed of training a convolutional network in a compiled loop, against Linen's convolutions and eager PyTorch.

    python experiments/benchmarks/convolution.py [--json]

The same residual network of five convolutions, with 32 channels of 14 x 14 pixels, a batch of 64, squared error and
plain gradient descent, in the same process on two threads, in turns. genjax runs its steps as one ``lax.scan`` in a
compiled function with ``nets.Conv``; Linen is the same program with ``flax.linen.Conv``; PyTorch runs step by step.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio

from genjax import nets
from genjax.compilation import jit

SHAPE, CHANNELS, NUM_LAYERS, RATE, NUM_STEPS = (64, 14, 14), 32, 5, 1e-4, 4
Chunk = Callable[[], object]  # runs NUM_STEPS steps and waits for them


def images() -> np.ndarray:
    """Return the images of all contestants."""
    return np.random.default_rng(0).standard_normal((*SHAPE, CHANNELS), np.float32)


class Network(nn.Module):
    """Residual layers of one convolution each."""

    conv: Any

    @nn.compact
    def __call__(self, x):
        """Map images to images."""
        for _ in range(NUM_LAYERS):
            x = x + self.conv(CHANNELS, (3, 3))(nn.relu(x))
        return x


def of_jax(conv: Any) -> Chunk:
    """Return training steps in JAX with a class of convolutions."""
    net, x = Network(conv), jnp.asarray(images())
    variables = net.init(jax.random.key(0), x)

    def step(variables, _):
        gradient = jax.grad(lambda v: jnp.mean((jnp.asarray(net.apply(v, x)) - 1) ** 2))(variables)
        return jax.tree.map(lambda p, g: p - RATE * g, variables, gradient), None

    run = jit(lambda variables: jax.lax.scan(step, variables, length=NUM_STEPS)[0])
    return lambda: jax.block_until_ready(run(variables))


def of_torch() -> Chunk:
    """Return the same training steps in eager PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    layers = [torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(NUM_LAYERS)]
    optimizer = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=RATE)
    data = torch.from_numpy(images()).permute(0, 3, 1, 2).contiguous()

    def run() -> None:
        for _ in range(NUM_STEPS):
            x = data
            for layer in layers:
                x = x + layer(torch.relu(x))
            optimizer.zero_grad(set_to_none=True)
            (x - 1).square().mean().backward()
            optimizer.step()

    return run


def timed(chunk: Chunk) -> Callable[[], float]:
    """Return a contestant that reports seconds per step."""

    def run() -> float:
        started = time.perf_counter()
        chunk()
        return (time.perf_counter() - started) / NUM_STEPS

    return run


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    contestants = {"genjax": timed(of_jax(nets.Conv)), "linen": timed(of_jax(nn.Conv))}
    if importlib.util.find_spec("torch") is not None:
        contestants["torch"] = timed(of_torch())
    seconds = interleaved(contestants, repeats=options.repeats)
    rows = []
    for rival in [name for name in contestants if name != "genjax"]:
        times = f"{rival}, {milliseconds(seconds[rival])}; {milliseconds(seconds['genjax'])}"
        target = {"linen": ">= 10", "torch": ">= 0.8"}[rival]
        rows.append(Row(f"training step: {rival} / genjax", ratio(seconds, rival, "genjax"), target, times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
