"""Speed of masked diffusion: a text of 256 tokens in 16 parallel steps against a GPT with cached steps.

    python experiments/benchmarks/masked_diffusion.py [--json]

nanoGPT's settings for CPUs, 4 layers, 4 heads, 128 channels, 65 characters, with equal layers and numbers of
parameters, in the same process on two threads, in turns; random weights, because the time does not depend on them. A
cached step of GPT reads one position, a step of the diffusion all 256. Also in 64 steps, with one token a step, and 16
texts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, timed

from genjax import autoregressive, diffusion, nets

LENGTH = 256
SIZES: dict[str, Any] = {"num_values": 65, "num_layers": 4, "num_heads": 4, "features": 128, "use_bias": False}
GPT = autoregressive.GPT(length=LENGTH, **SIZES)
MASKED = diffusion.MaskedDiffusion(
    shape=(LENGTH,), num_values=SIZES["num_values"], net=nets.TokenTransformer(embed_level=False, **SIZES)
)


def drawn(model: Any, num_texts: int, **options: Any) -> Callable[[], float]:
    """Return a contestant that draws texts."""
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, LENGTH), jnp.int32)})
    draw = jax.jit(lambda variables, key: model.sample(variables, key, num_texts, **options))
    return timed(lambda: draw(variables, jax.random.key(1)).block_until_ready(), 1)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    rows = []
    for num_texts, numbers in ((1, (16, 64, LENGTH)), (16, (16,))):
        contestants = {f"{steps} steps": drawn(MASKED, num_texts, num_steps=steps) for steps in numbers}
        seconds = interleaved(contestants | {"cached GPT": drawn(GPT, num_texts)}, repeats=options.repeats)
        for name in contestants:
            times = f"cached GPT, {milliseconds(seconds['cached GPT'])}; {milliseconds(seconds[name])}"
            row = f"{num_texts} x {LENGTH} tokens: cached GPT / masked diffusion, {name}"
            rows.append(Row(row, ratio(seconds, "cached GPT", name), "stated", times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
