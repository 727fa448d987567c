"""Speed of a small GPT: a training step and sampling 256 tokens, against the same model in eager PyTorch.

    python experiments/benchmarks/gpt.py [--json]

nanoGPT's settings for CPUs, 4 layers, 4 heads, 128 channels, 65 characters, in the same process on two threads, in
turns. Training: windows of 64 tokens, batches of 12, AdamW; a chunk of steps in one dispatch against as many steps of
PyTorch. Sampling: 1, 16 or 64 sequences with a context of 256; PyTorch caches keys and values, or recomputes the last
64 tokens for each token, as nanoGPT does. "Recomputed" runs our whole network, compiled, on all 256 positions for every
token. Last, one sequence of a network with GPT-2 small's shape and random weights, whose steps are limited by the
memory: "reading" sums as many numbers as it has parameters, once for each token.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, steps_of, timed

from genjax import autoregressive, gradient_learner

WINDOW, BATCH, STEPS, DRAWN = 64, 12, 50, 256
SMALL = {"num_layers": 4, "num_heads": 4, "features": 128, "num_values": 65}
GPT2_SMALL = {"num_layers": 12, "num_heads": 12, "features": 768, "num_values": 50_257}
Contestants = dict[str, Callable[[], float]]


def model_of(length: int, sizes: dict[str, int]) -> autoregressive.GPT:
    """Return the GPT of the PyTorch model below: GELU, layers without bias."""
    options: dict[str, Any] = dict(sizes)
    return autoregressive.GPT(length=length, use_bias=False, **options)


def cached(length: int, sizes: dict[str, int], batch_size: int) -> Callable[[], float]:
    """Return a contestant that samples 256 tokens of each sequence with cached steps."""
    model = model_of(length, sizes)
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, 1), jnp.int32)})
    draw = jax.jit(lambda variables, key: model.sample(variables, key, batch_size, num_tokens=DRAWN))
    return timed(lambda: draw(variables, jax.random.key(1)).block_until_ready(), 1)


def recomputed() -> Callable[[], float]:
    """Return a contestant that samples 256 tokens of one sequence, each with a pass of the whole network."""
    model, sampling = model_of(DRAWN, SMALL), autoregressive.Sampling()
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, 1), jnp.int32)})

    @jax.jit
    def draw(variables: Any, key: jax.Array) -> jax.Array:
        def token(x: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            position, uniform = now
            logits = model.logits(variables, x)[:, position]
            return x.at[:, position].set(sampling.draw(logits, uniform[None])), None

        uniforms = jax.random.uniform(key, (DRAWN,))
        return jax.lax.scan(token, jnp.zeros((1, DRAWN), jnp.int32), (jnp.arange(DRAWN), uniforms))[0]

    return timed(lambda: draw(variables, jax.random.key(1)).block_until_ready(), 1)


def reading(sizes: dict[str, int]) -> Callable[[], float]:
    """Return a contestant that reads as many numbers as the model has parameters, 256 times."""
    model = model_of(1_024, sizes)
    shapes = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((1, 1), jnp.int32)})
    numbers, total = jnp.ones(sum(leaf.size for leaf in jax.tree.leaves(shapes))), jax.jit(jnp.sum)
    return timed(lambda: [total(numbers).block_until_ready() for _ in range(16)], DRAWN / 16)


def torch_net(length: int, sizes: dict[str, int]) -> Any:
    """Return the same network in PyTorch; it maps tokens, cached keys and values and a position to logits and both."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    heads, features = sizes["num_heads"], sizes["features"]

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = (nn.LayerNorm(features, bias=False) for _ in range(2))
            self.qkv = nn.Linear(features, 3 * features, bias=False)
            self.attention = nn.Linear(features, features, bias=False)
            self.up = nn.Linear(features, 4 * features, bias=False)
            self.down = nn.Linear(4 * features, features, bias=False)

        def forward(self, h, past=None):
            shape = (*h.shape[:2], heads, features // heads)
            q, k, v = (a.view(shape).transpose(1, 2) for a in self.qkv(self.norm_1(h)).chunk(3, 2))
            if past is not None:
                k, v = (torch.cat([old, new], 2) for old, new in zip(past, (k, v), strict=True))
            attended = fn.scaled_dot_product_attention(q, k, v, is_causal=past is None)
            h = h + self.attention(attended.transpose(1, 2).reshape(h.shape))
            return h + self.down(fn.gelu(self.up(self.norm_2(h)))), (k, v)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(sizes["num_values"], features)
            self.positions = nn.Embedding(length, features)
            self.layers = nn.ModuleList([Layer() for _ in range(sizes["num_layers"])])
            self.norm = nn.LayerNorm(features, bias=False)

        def forward(self, x, past=None, start=0):
            h = self.embedding(x) + self.positions(torch.arange(start, start + x.shape[1]))
            cache = []
            for i, layer in enumerate(self.layers):
                h, new = layer(h, None if past is None else past[i])
                cache.append(new)
            return self.norm(h) @ self.embedding.weight.T, cache

    return Net()


def torch_training(data: np.ndarray) -> Callable[[], float]:
    """Return a contestant that reports seconds per step."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    net = torch_net(WINDOW, SMALL)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    batches = [torch.tensor(x.astype(np.int64)) for x in data]

    def train() -> None:
        for x in batches:
            before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
            loss = fn.cross_entropy(net(before)[0].flatten(0, 1), x.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return timed(train, 1 / STEPS)


def torch_cached(length: int, sizes: dict[str, int], batch_size: int) -> Callable[[], float]:
    """Return a contestant that samples 256 tokens of each sequence with cached keys and values."""
    import torch  # pyright: ignore[reportMissingImports]

    net = torch_net(length, sizes).eval()

    @torch.no_grad()
    def draw() -> None:
        token = torch.zeros(batch_size, 1, dtype=torch.long)
        empty = torch.zeros(batch_size, sizes["num_heads"], 0, sizes["features"] // sizes["num_heads"])
        past = [(empty, empty)] * sizes["num_layers"]
        for i in range(DRAWN):
            logits, past = net(token, past, i)
            token = torch.multinomial(logits[:, -1].softmax(-1), 1)

    return timed(draw, 1)


def torch_as_nanogpt() -> Callable[[], float]:
    """Return a contestant that samples 256 tokens, each with a pass over the last 64."""
    import torch  # pyright: ignore[reportMissingImports]

    net = torch_net(WINDOW, SMALL).eval()

    @torch.no_grad()
    def draw() -> None:
        x = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(DRAWN):
            logits = net(x[:, -WINDOW:])[0]
            x = torch.cat([x, torch.multinomial(logits[:, -1].softmax(-1), 1)], 1)

    return timed(draw, 1)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=7)
    has_torch = importlib.util.find_spec("torch") is not None
    rows = []

    def add(name: str, ours: str, seconds: dict[str, list[float]], targets: dict[str, str]) -> None:
        for rival, target in targets.items():
            if rival in seconds:
                times = f"{rival}, {milliseconds(seconds[rival])}; {milliseconds(seconds[ours])}"
                rows.append(Row(f"{name}: {rival} / {ours}", ratio(seconds, rival, ours), target, times))

    data = np.random.default_rng(0).integers(0, SMALL["num_values"], (STEPS, BATCH, WINDOW)).astype(np.int32)
    learner = gradient_learner(model_of(WINDOW, SMALL), optax.adamw(1e-3))
    theirs = {"torch": torch_training(data)} if has_torch else {}
    training = {"genjax": steps_of(learner, data)} | theirs
    add("GPT 4 x 128, training step", "genjax", interleaved(training, repeats=options.repeats), {"torch": ">= 1.2"})
    drawing = {"cached": cached(DRAWN, SMALL, 1), "recomputed": recomputed()}
    if has_torch:
        drawing |= {"torch with a cache": torch_cached(DRAWN, SMALL, 1), "torch as nanoGPT draws": torch_as_nanogpt()}
    targets = {"recomputed": ">= 5", "torch with a cache": ">= 4", "torch as nanoGPT draws": ">= 10"}
    add(f"{DRAWN} tokens", "cached", interleaved(drawing, repeats=options.repeats), targets)
    for batch_size in (16, 64):
        theirs = {"torch with a cache": torch_cached(DRAWN, SMALL, batch_size)} if has_torch else {}
        drawing = {"cached": cached(DRAWN, SMALL, batch_size)} | theirs
        add(
            f"{batch_size} x {DRAWN} tokens",
            "cached",
            interleaved(drawing, repeats=options.repeats),
            {"torch with a cache": "stated"},
        )
    theirs = {"torch with a cache": torch_cached(1_024, GPT2_SMALL, 1)} if has_torch else {}
    drawing = {"cached": cached(1_024, GPT2_SMALL, 1), "reading": reading(GPT2_SMALL)} | theirs
    name = f"{DRAWN} tokens of GPT-2 small's shape"
    seconds = interleaved(drawing, repeats=min(options.repeats, 3))
    add(name, "cached", seconds, {"torch with a cache": "stated"})
    add(name, "reading", seconds, {"cached": "<= 1.3"})
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
