"""Speed of a VAE's training step against eager PyTorch, and of eight replicas against one.

    python experiments/benchmarks/vae.py [--json]

Both libraries train the same model in the same process on two threads, in turns, and the medians are compared: random
minibatch from memory, random posterior draw, Bernoulli likelihood, exact KL divergence, backward pass, Adam. genjax
runs its steps as one ``lax.scan`` in a compiled function; PyTorch runs step by step, as its users write it, with the
fused Adam, its fastest.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio

from genjax import gradient_learner, nets, ops, vae

SIZES = {"mnist 784-500-500-50": (784, (500, 500), 50), "digits 64-256-16": (64, (256,), 16)}
NUM_EXAMPLES, BATCH_SIZE, LEARNING_RATE = 2_048, 128, 1e-3
Chunk = Callable[[int], None]  # trains for a number of steps and waits for them


def examples(num_features: int) -> np.ndarray:
    """Return the binary data of both libraries."""
    return (np.random.default_rng(0).random((NUM_EXAMPLES, num_features)) < 0.3).astype(np.float32)


def genjax_chunk(num_features: int, widths: tuple[int, ...], latent_dim: int, num_replicas: int = 1) -> Chunk:
    """Return the steps of one training run, or of several mapped into one program."""
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
    """Return the steps of the same training run in eager PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

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
            cross_entropy = functional.binary_cross_entropy_with_logits(decoder(latent), x, reduction="sum")
            kl = 0.5 * (log_var.exp() + mean.square() - 1 - log_var).sum()
            optimizer.zero_grad(set_to_none=True)
            ((cross_entropy + kl) / BATCH_SIZE).backward()
            optimizer.step()

    return chunk


def steps_of(chunk: Chunk, num_steps: int) -> Callable[[], float]:
    """Return a contestant that runs a number of steps and reports seconds per step."""

    def run() -> float:
        started = time.perf_counter()
        chunk(num_steps)
        return (time.perf_counter() - started) / num_steps

    return run


def against_torch(repeats: int) -> list[Row]:
    """Return rows of PyTorch's time over ours."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its rows are skipped (pip install torch)", file=sys.stderr)
        return []
    import torch  # pyright: ignore[reportMissingImports]

    rows = []
    for (name, size), target, num_steps in zip(SIZES.items(), (1.1, 1.5), (40, 200), strict=True):
        contestants = {"torch": torch_chunk(*size), "genjax": genjax_chunk(*size)}
        seconds = interleaved({n: steps_of(c, num_steps) for n, c in contestants.items()}, repeats=repeats)
        rival = (
            f"eager PyTorch {torch.__version__}, {milliseconds(seconds['torch'])}; {milliseconds(seconds['genjax'])}"
        )
        rows.append(Row(f"step of {name}: PyTorch / genjax", ratio(seconds, "torch", "genjax"), f">= {target}", rival))
    return rows


def of_replicas(repeats: int) -> list[Row]:
    """Return rows of the time of eight replicas in one program over that of one."""
    target = "<= 7" if jax.default_backend() == "cpu" else "<= 2"
    rows = []
    for (name, size), num_steps in zip(SIZES.items(), (10, 50), strict=True):
        one, eight = genjax_chunk(*size), genjax_chunk(*size, num_replicas=8)
        contestants = {"one": steps_of(one, 4 * num_steps), "eight": steps_of(eight, num_steps)}
        seconds = interleaved(contestants, repeats=repeats)
        rival = f"one replica, {milliseconds(seconds['one'])}; {milliseconds(seconds['eight'])}"
        rows.append(Row(f"step of {name}: eight replicas / one", ratio(seconds, "eight", "one"), target, rival))
    return rows


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=15)
    print_rows(*against_torch(options.repeats), *of_replicas(options.repeats), as_json=options.json)


if __name__ == "__main__":
    main()
