"""Speed of a VAE's training step: against eager PyTorch, and of eight replicas against one.

    python experiments/benchmarks/vae.py [--json]

Both libraries train the same model in the same process on two threads, in turns, and the medians are compared: random
minibatch from memory, random posterior draw, Bernoulli likelihood, exact divergence, backward pass, Adam. genjax runs
its steps as one ``lax.scan`` in a compiled function, PyTorch one by one as its users write them (with the fused Adam,
the fastest it has).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import gradient_learner, nets, ops, vae

SIZES = {"mnist 784-500-500-50": (784, (500, 500), 50), "digits 64-256-16": (64, (256,), 16)}
NUM_EXAMPLES, BATCH_SIZE, LEARNING_RATE = 2_048, 128, 1e-3
Chunk = Callable[[int], None]  # trains for so many steps and waits for them


def examples(num_features: int) -> np.ndarray:
    """Binary data, the same for both libraries."""
    return (np.random.default_rng(0).random((NUM_EXAMPLES, num_features)) < 0.3).astype(np.float32)


def genjax_chunk(num_features: int, widths: tuple[int, ...], latent_dim: int, num_replicas: int = 1) -> Chunk:
    """Steps of one training run, or of several mapped into one program."""
    model = vae.VAE(
        latent_dim=latent_dim,
        encoder=nets.MLP((*widths, 2 * latent_dim), activation=jax.nn.relu),
        decoder=nets.MLP((*widths[::-1], num_features), activation=jax.nn.relu),
        likelihood=ops.Bernoulli(),
    )
    learner = gradient_learner(model, optax.adam(LEARNING_RATE))
    x = jnp.asarray(examples(num_features))

    def step(train, key):
        index_key, step_key = jax.random.split(jax.random.fold_in(key, train.step))
        rows = jax.random.randint(index_key, (BATCH_SIZE,), 0, NUM_EXAMPLES)
        return learner.step(train, step_key, {"x": x[rows]})[0]

    def scan(train, key, num_steps):
        return jax.lax.scan(lambda train, _: (step(train, key), None), train, length=num_steps)[0]

    def init(key):
        return learner.init(key, {"x": x[:BATCH_SIZE]})

    if num_replicas > 1:
        keys = jax.random.split(jax.random.key(0), num_replicas)
        init, scan = jax.vmap(init), jax.vmap(scan, (0, 0, None))
    else:
        keys = jax.random.key(0)
    run = jax.jit(scan, static_argnums=2, donate_argnums=0)
    train = jax.jit(init)(keys)

    def chunk(num_steps: int) -> None:
        nonlocal train
        train = jax.block_until_ready(run(train, keys, num_steps))

    return chunk


def torch_chunk(num_features: int, widths: tuple[int, ...], latent_dim: int) -> Chunk:
    """The same training run in eager PyTorch."""
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits

    def mlp(*sizes: int) -> nn.Sequential:
        layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    torch.set_num_threads(2)
    encoder = mlp(num_features, *widths, 2 * latent_dim)
    decoder = mlp(latent_dim, *widths[::-1], num_features)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE, fused=True)
    data = torch.from_numpy(examples(num_features))

    def chunk(num_steps: int) -> None:
        for _ in range(num_steps):
            x = data[torch.randint(0, NUM_EXAMPLES, (BATCH_SIZE,))]
            mean, log_var = encoder(x).chunk(2, dim=-1)
            latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            cross_entropy = binary_cross_entropy_with_logits(decoder(latent), x, reduction="sum")
            kl = 0.5 * (log_var.exp() + mean.square() - 1 - log_var).sum()
            optimizer.zero_grad(set_to_none=True)
            ((cross_entropy + kl) / BATCH_SIZE).backward()
            optimizer.step()

    return chunk


class Milliseconds(NamedTuple):
    """Time of a step."""

    median: float
    best: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ms (best {self.best:.2f})"


def measure(chunks: dict[str, tuple[Chunk, int]], rounds: int) -> dict[str, Milliseconds]:
    """Time steps of each, taking many short turns so that all meet the same state of the machine."""
    times: dict[str, list[float]] = {name: [] for name in chunks}
    for turn in range(rounds + 1):
        for name, (chunk, num_steps) in chunks.items():
            start = time.perf_counter()
            chunk(num_steps)
            if turn:  # the first compiles
                times[name].append(1e3 * (time.perf_counter() - start) / num_steps)
    return {name: Milliseconds(statistics.median(values), min(values)) for name, values in times.items()}


def against_torch(rounds: int) -> list[dict]:
    """Rows of PyTorch's time over ours."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: rows against it are left out (pip install torch)", file=sys.stderr)
        return []
    import torch

    rows = []
    for (name, size), target, num_steps in zip(SIZES.items(), (1.1, 1.5), (40, 200), strict=True):
        chunks = {"genjax": (genjax_chunk(*size), num_steps), "torch": (torch_chunk(*size), num_steps)}
        took = measure(chunks, rounds)
        rival = f"PyTorch {torch.__version__} eager {took['torch']}; genjax {took['genjax']}"
        rows.append(row(f"vae step, {name}", took["torch"].median / took["genjax"].median, f">= {target}", rival))
    return rows


def of_replicas(rounds: int) -> list[dict]:
    """Rows of the time of eight replicas in one program over that of one."""
    target = "<= 7" if jax.default_backend() == "cpu" else "<= 2"
    rows = []
    for (name, size), num_steps in zip(SIZES.items(), (10, 50), strict=True):
        one, eight = genjax_chunk(*size), genjax_chunk(*size, num_replicas=8)
        took = measure({"one": (one, 4 * num_steps), "eight": (eight, num_steps)}, rounds)
        rival = f"one replica {took['one']}; eight {took['eight']}"
        rows.append(row(f"eight replicas, {name}", took["eight"].median / took["one"].median, target, rival))
    return rows


def row(name: str, ratio: float, target: str, rival: str) -> dict:
    """One line of the result."""
    machine = f"{jax.devices()[0].device_kind} ({platform.machine()}), {os.cpu_count()} cores, jax {jax.__version__}"
    return {"row": name, "ratio": round(ratio, 2), "target": target, "rival": rival, "machine": machine}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--json", action="store_true", help="print one line of JSON a row")
    parser.add_argument("--rounds", type=int, default=15, help="timed turns of each program")
    options = parser.parse_args()
    for result in against_torch(options.rounds) + of_replicas(options.rounds):
        if options.json:
            print(json.dumps(result), flush=True)
        else:
            print(
                f"{result['row']:36} {result['ratio']:6.2f}  target {result['target']:7} {result['rival']}", flush=True
            )


if __name__ == "__main__":
    main()
