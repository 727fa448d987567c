"""Speed of normalizing flows against flowjax and zuko: training steps and sampling.

    python experiments/benchmarks/flows.py [--json]

The same architectures in the same process on two threads, in turns: neural spline flow with 8 couplings of 8 bins and
masked autoregressive flow with 5 layers, hidden widths 128-128, ReLU; a batch of 512 standard normal vectors in memory,
maximum likelihood, Adam; then 512 samples. genjax runs its steps as one ``lax.scan`` in a compiled function, flowjax
runs its own compiled step in a loop as in its ``fit_to_data``, and zuko runs eager PyTorch with the fused Adam, its
fastest. The layers of flowjax are scanned, as built by its constructors.
"""

from __future__ import annotations

import importlib.util
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

from genjax import flow, gradient_learner

NUM_EXAMPLES, BATCH_SIZE, LEARNING_RATE, HIDDEN = 4_096, 512, 1e-3, (128, 128)
NUM_COUPLINGS, NUM_BINS, BOUND, NUM_MAF = 8, 8, 4.0, 5
NUM_STEPS, NUM_DRAWS = 10, 3
DIMS = (21, 63)
Chunk = Callable[[], object]  # runs NUM_STEPS steps, or draws NUM_DRAWS batches of samples, and waits for them


def examples(dim: int) -> np.ndarray:
    """Return the data of all libraries."""
    return np.random.default_rng(0).standard_normal((NUM_EXAMPLES, dim), np.float32)


def of_genjax(kind: str, dim: int) -> tuple[Chunk, Chunk]:
    """Return training steps and sampling with genjax."""
    if kind == "nsf":
        model = flow.neural_spline_flow(
            shape=(dim,), num_layers=NUM_COUPLINGS, hidden=HIDDEN, num_bins=NUM_BINS, bound=BOUND
        )
    else:
        model = flow.masked_autoregressive_flow(shape=(dim,), num_layers=NUM_MAF, hidden=HIDDEN)
    learner = gradient_learner(model, optax.adam(LEARNING_RATE))
    x, key = jnp.asarray(examples(dim)), jax.random.key(0)

    def step(train, key):
        index_key, step_key = jax.random.split(jax.random.fold_in(key, train.step))
        rows = jax.random.randint(index_key, (BATCH_SIZE,), 0, NUM_EXAMPLES)
        return learner.step(train, step_key, {"x": x[rows]})[0], None

    run = jax.jit(lambda train, key: jax.lax.scan(lambda t, _: step(t, key), train, length=NUM_STEPS)[0])
    train = jax.jit(learner.init)(key, {"x": x[:BATCH_SIZE]})
    sample = jax.jit(model.sample, static_argnums=2)

    def draw() -> None:
        for i in range(NUM_DRAWS):
            sample(train.variables, jax.random.key(i), BATCH_SIZE).block_until_ready()

    return lambda: jax.block_until_ready(run(train, key)), draw


def of_flowjax(kind: str, dim: int) -> tuple[Chunk, Chunk]:
    """Return training steps and sampling with flowjax."""
    import equinox as eqx  # pyright: ignore[reportMissingImports]
    import flowjax.bijections  # pyright: ignore[reportMissingImports]
    import flowjax.distributions  # pyright: ignore[reportMissingImports]
    import flowjax.flows  # pyright: ignore[reportMissingImports]
    import paramax  # pyright: ignore[reportMissingImports]
    from flowjax.train.losses import MaximumLikelihoodLoss  # pyright: ignore[reportMissingImports]
    from flowjax.train.train_utils import step as flowjax_step  # pyright: ignore[reportMissingImports]

    base = flowjax.distributions.Normal(jnp.zeros(dim))
    sizes = {"nn_width": HIDDEN[0], "nn_depth": len(HIDDEN), "invert": True}
    if kind == "nsf":
        spline = flowjax.bijections.RationalQuadraticSpline(knots=NUM_BINS, interval=BOUND)
        model = flowjax.flows.coupling_flow(
            jax.random.key(0), base_dist=base, transformer=spline, flow_layers=NUM_COUPLINGS, **sizes
        )
    else:
        model = flowjax.flows.masked_autoregressive_flow(
            jax.random.key(0), base_dist=base, flow_layers=NUM_MAF, **sizes
        )
    params, static = eqx.partition(
        model, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )
    optimizer = optax.adam(LEARNING_RATE)
    x = jnp.asarray(examples(dim))
    draws = np.random.default_rng(1)
    loss_fn = MaximumLikelihoodLoss()

    def train() -> None:
        now, opt_state = params, optimizer.init(params)
        for i in range(NUM_STEPS):
            batch = x[draws.integers(0, NUM_EXAMPLES, BATCH_SIZE)]
            now, opt_state, loss = flowjax_step(
                now, static, batch, optimizer=optimizer, opt_state=opt_state, loss_fn=loss_fn, key=jax.random.key(i)
            )
        jax.block_until_ready((now, loss))

    sample = eqx.filter_jit(lambda model, key: model.sample(key, (BATCH_SIZE,)))

    def draw() -> None:
        for i in range(NUM_DRAWS):
            sample(model, jax.random.key(i)).block_until_ready()

    return train, draw


def of_zuko(kind: str, dim: int) -> tuple[Chunk, Chunk]:
    """Return training steps and sampling with zuko."""
    import torch  # pyright: ignore[reportMissingImports]
    import zuko  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    if kind == "nsf":  # zuko's NSF is autoregressive unless passes=2, which makes it a coupling
        model = zuko.flows.NSF(dim, bins=NUM_BINS, transforms=NUM_COUPLINGS, hidden_features=HIDDEN, passes=2)
    else:
        model = zuko.flows.MAF(dim, transforms=NUM_MAF, hidden_features=HIDDEN)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    x = torch.from_numpy(examples(dim))

    def train() -> None:
        for _ in range(NUM_STEPS):
            batch = x[torch.randint(0, NUM_EXAMPLES, (BATCH_SIZE,))]
            optimizer.zero_grad(set_to_none=True)
            (-model().log_prob(batch).mean()).backward()
            optimizer.step()

    def draw() -> None:
        with torch.no_grad():
            for _ in range(NUM_DRAWS):
                model().sample((BATCH_SIZE,))

    return train, draw


CONTESTANTS = {"genjax": of_genjax, "flowjax": of_flowjax, "zuko": of_zuko}
# (model, operation, rival) -> target ratio
TARGETS = {
    ("nsf", "step", "flowjax"): ">= 1.5",
    ("nsf", "step", "zuko"): ">= 3",
    ("nsf", "sample", "flowjax"): ">= 1.5",
    ("maf", "step", "flowjax"): ">= 1.2",
    ("maf", "step", "zuko"): ">= 1.2",
    ("maf", "sample", "flowjax"): ">= 3",
    ("maf", "sample", "zuko"): ">= 3",
}


def timed(chunk: Chunk, count: int) -> Callable[[], float]:
    """Return a contestant that reports seconds per step or per batch of samples."""

    def run() -> float:
        started = time.perf_counter()
        chunk()
        return (time.perf_counter() - started) / count

    return run


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=7)
    rivals = [name for name in ("flowjax", "zuko") if importlib.util.find_spec(name) is not None]
    if not rivals:
        sys.exit("neither flowjax nor zuko is installed, and there is nothing else to compare with: pip install them")
    rows = []
    for kind in ("nsf", "maf"):
        for dim in DIMS:
            chunks = {name: CONTESTANTS[name](kind, dim) for name in ("genjax", *rivals)}
            for what, index, count in (("step", 0, NUM_STEPS), ("sample", 1, NUM_DRAWS)):
                contestants = {name: timed(pair[index], count) for name, pair in chunks.items()}
                seconds = interleaved(contestants, repeats=options.repeats)
                for rival in rivals:
                    target = TARGETS.get((kind, what, rival), "")
                    if kind == "maf" and what == "sample" and dim < max(DIMS):
                        target = ""
                    times = f"{milliseconds(seconds[rival])}; {milliseconds(seconds['genjax'])}"
                    label = f"{kind} d={dim} {what}: {rival} / genjax"
                    rows.append(Row(label, ratio(seconds, rival, "genjax"), target, f"{rival}, {times}"))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
