"""Speed of a GMMN's training step, and of its loss and gradient alone, against eager PyTorch.

    python experiments/benchmarks/gmmn.py [--json]

Both libraries train the same generator, 10-64-256-256-1024-784 with a sigmoid, in the same process on two threads, in
turns: random minibatch of 1,000 from memory, 1,000 samples, square root of MMD² with six bandwidths, backward pass,
Adam. genjax runs its steps as one ``lax.scan`` in a compiled function; PyTorch runs step by step, as its users write
it: three distance matrices, each from one matrix product, a mean of exponentials, autograd and the fused Adam, its
fastest. The loss takes five products of 1,000 x 784 x 1,000 in genjax and six in PyTorch.
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

from genjax import gradient_learner, nets
from genjax.moment_matching import GMMN
from genjax.ops.mmd import mmd_loss

LATENT_DIM, WIDTHS, NUM_FEATURES = 10, (64, 256, 256, 1024), 784
BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
NUM_EXAMPLES, BATCH_SIZE, LEARNING_RATE, NUM_STEPS = 4_000, 1_000, 1e-3, 20
Chunk = Callable[[], object]  # runs NUM_STEPS steps and waits for them


def examples() -> np.ndarray:
    """Return the data of both libraries, in [0, 1]."""
    return np.random.default_rng(0).random((NUM_EXAMPLES, NUM_FEATURES), np.float32) ** 4


def genjax_step() -> Chunk:
    """Return the training steps of genjax."""
    generator = nets.MLP((*WIDTHS, NUM_FEATURES), activation=jax.nn.relu, output_activation=jax.nn.sigmoid)
    learner = gradient_learner(
        GMMN(latent_dim=LATENT_DIM, generator=generator, bandwidths=BANDWIDTHS), optax.adam(LEARNING_RATE)
    )
    x = jnp.asarray(examples())

    def step(train, key):
        index_key, step_key = jax.random.split(jax.random.fold_in(key, train.step))
        rows = jax.random.randint(index_key, (BATCH_SIZE,), 0, NUM_EXAMPLES)
        return learner.step(train, step_key, {"x": x[rows]})[0], None

    run = jax.jit(lambda train, key: jax.lax.scan(lambda t, _: step(t, key), train, length=NUM_STEPS)[0])
    key = jax.random.key(0)
    train = jax.jit(learner.init)(key, {"x": x[:BATCH_SIZE]})
    return lambda: jax.block_until_ready(run(train, key))


def genjax_loss() -> Chunk:
    """Return the loss and its gradient with respect to the samples, with new data at each step."""
    x, y = jnp.asarray(examples()[:BATCH_SIZE]), jnp.asarray(examples()[BATCH_SIZE : 2 * BATCH_SIZE])

    def step(y, x):
        gradient = jax.grad(lambda y: jnp.sqrt(mmd_loss(x, y, BANDWIDTHS)))(y)
        return y - gradient, None

    run = jax.jit(lambda xs, y: jax.lax.scan(step, y, xs)[0])
    xs = jnp.stack([x] * NUM_STEPS)
    return lambda: jax.block_until_ready(run(xs, y))


def torch_loss_of(x, y):
    """Return the same loss in eager PyTorch."""

    def mean_kernel(a, b):
        norms = a.square().sum(1)[:, None] + b.square().sum(1)[None]
        squared = (norms - 2 * a @ b.T).clamp(min=0)
        kernels = [(-squared / (2 * width**2)).exp() for width in BANDWIDTHS]
        return sum(kernels[1:], kernels[0]).mean() / len(kernels)

    return (mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)).sqrt()


def torch_step() -> Chunk:
    """Return the same training steps in eager PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    sizes = itertools.pairwise((LATENT_DIM, *WIDTHS, NUM_FEATURES))
    layers = [layer for pair in sizes for layer in (nn.Linear(*pair), nn.ReLU())]
    generator = nn.Sequential(*layers[:-1], nn.Sigmoid())
    optimizer = torch.optim.Adam(generator.parameters(), lr=LEARNING_RATE, fused=True)
    data = torch.from_numpy(examples())

    def chunk() -> None:
        for _ in range(NUM_STEPS):
            x = data[torch.randint(0, NUM_EXAMPLES, (BATCH_SIZE,))]
            y = generator(2 * torch.rand(BATCH_SIZE, LATENT_DIM) - 1)
            optimizer.zero_grad(set_to_none=True)
            torch_loss_of(x, y).backward()
            optimizer.step()

    return chunk


def torch_loss() -> Chunk:
    """Return the loss and its gradient with respect to the samples in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    x, y = (torch.from_numpy(side) for side in np.split(examples()[: 2 * BATCH_SIZE], 2))

    def chunk() -> None:
        moved = y
        for _ in range(NUM_STEPS):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(torch_loss_of(x, moved), moved)
            moved = moved - gradient

    return chunk


def timed(chunk: Chunk) -> Callable[[], float]:
    """Return a contestant that reports seconds per step."""

    def run() -> float:
        started = time.perf_counter()
        chunk()
        return (time.perf_counter() - started) / NUM_STEPS

    return run


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=15)
    if importlib.util.find_spec("torch") is None:
        sys.exit("PyTorch is not installed, and there is nothing else to compare with: pip install torch")
    import torch  # pyright: ignore[reportMissingImports]

    rows = []
    for name, rival, ours in (
        ("step of GMMN 10-64-256-256-1024-784", torch_step(), genjax_step()),
        ("MMD² of 1,000 x 1,000 and gradient", torch_loss(), genjax_loss()),
    ):
        seconds = interleaved({"torch": timed(rival), "genjax": timed(ours)}, repeats=options.repeats)
        times = f"{milliseconds(seconds['torch'])}; {milliseconds(seconds['genjax'])}"
        rows.append(
            Row(
                f"{name}: PyTorch / genjax",
                ratio(seconds, "torch", "genjax"),
                ">= 1.5",
                f"eager PyTorch {torch.__version__}, {times}",
            )
        )
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
