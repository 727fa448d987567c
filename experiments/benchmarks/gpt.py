"""Speed of a small GPT: a training step and sampling 256 tokens, against the same model in eager PyTorch.

    python experiments/benchmarks/gpt.py [--json]

nanoGPT's settings for CPUs, 4 layers, 4 heads, 128 channels, 65 characters, in the same process on two threads, in
turns. Training: windows of 64 tokens, batches of 12, AdamW; a chunk of steps in one dispatch against as many steps of
PyTorch. Sampling: one sequence with a context of 256; PyTorch caches keys and values, or recomputes the last 64 tokens
for each token, as nanoGPT does. "Recomputed" runs our whole network, compiled, on all 256 positions for every token.
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

LAYERS, HEADS, FEATURES, TOKENS = 4, 4, 128, 65
WINDOW, BATCH, STEPS, DRAWN = 64, 12, 50, 256


def model_of(length: int) -> autoregressive.GPT:
    """Return the GPT of the PyTorch model below: GELU, layers without bias."""
    sizes: dict[str, Any] = {"num_layers": LAYERS, "num_heads": HEADS, "features": FEATURES}
    return autoregressive.GPT(num_values=TOKENS, length=length, use_bias=False, **sizes)


def drawing_of_genjax() -> dict[str, Callable[[], float]]:
    """Return contestants that sample 256 tokens, with cached steps and with full recomputation."""
    model = model_of(DRAWN)
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, DRAWN), jnp.int32)})
    cached = jax.jit(lambda variables, key: model.sample(variables, key, 1))
    sampling = autoregressive.Sampling()

    @jax.jit
    def recomputed(variables: Any, key: jax.Array) -> jax.Array:
        def token(x: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            position, uniform = now
            logits = model.logits(variables, x)[:, position]
            return x.at[:, position].set(sampling.draw(logits, uniform[None])), None

        uniforms = jax.random.uniform(key, (DRAWN,))
        return jax.lax.scan(token, jnp.zeros((1, DRAWN), jnp.int32), (jnp.arange(DRAWN), uniforms))[0]

    return {
        "cached": timed(lambda: cached(variables, jax.random.key(1)).block_until_ready(), 1),
        "recomputed": timed(lambda: recomputed(variables, jax.random.key(1)).block_until_ready(), 1),
    }


def of_torch(data: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return contestants for a step, and for 256 tokens with a cache and as in nanoGPT."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = (nn.LayerNorm(FEATURES, bias=False) for _ in range(2))
            self.qkv = nn.Linear(FEATURES, 3 * FEATURES, bias=False)
            self.attention = nn.Linear(FEATURES, FEATURES, bias=False)
            self.up = nn.Linear(FEATURES, 4 * FEATURES, bias=False)
            self.down = nn.Linear(4 * FEATURES, FEATURES, bias=False)

        def forward(self, h, past=None):
            heads = (*h.shape[:2], HEADS, FEATURES // HEADS)
            q, k, v = (a.view(heads).transpose(1, 2) for a in self.qkv(self.norm_1(h)).chunk(3, 2))
            if past is not None:
                k, v = (torch.cat([old, new], 2) for old, new in zip(past, (k, v), strict=True))
            attended = fn.scaled_dot_product_attention(q, k, v, is_causal=past is None)
            h = h + self.attention(attended.transpose(1, 2).reshape(h.shape))
            return h + self.down(fn.gelu(self.up(self.norm_2(h)))), (k, v)

    class Net(nn.Module):
        def __init__(self, length: int) -> None:
            super().__init__()
            self.embedding, self.positions = nn.Embedding(TOKENS, FEATURES), nn.Embedding(length, FEATURES)
            self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
            self.norm = nn.LayerNorm(FEATURES, bias=False)

        def forward(self, x, past=None, start=0):
            h = self.embedding(x) + self.positions(torch.arange(start, start + x.shape[1]))
            cache = []
            for i, layer in enumerate(self.layers):
                h, new = layer(h, None if past is None else past[i])
                cache.append(new)
            return self.norm(h) @ self.embedding.weight.T, cache

    net = Net(WINDOW)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    batches = [torch.tensor(x.astype(np.int64)) for x in data]

    def train() -> None:
        for x in batches:
            before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
            loss = fn.cross_entropy(net(before)[0].flatten(0, 1), x.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    long = Net(DRAWN).eval()

    def draw(logits):
        return torch.multinomial(logits[:, -1].softmax(-1), 1)

    @torch.no_grad()
    def with_cache() -> None:
        token = torch.zeros(1, 1, dtype=torch.long)
        empty = torch.zeros(1, HEADS, 0, FEATURES // HEADS)
        past = [(empty, empty)] * LAYERS
        for i in range(DRAWN):
            logits, past = long(token, past, i)
            token = draw(logits)

    @torch.no_grad()
    def as_nanogpt() -> None:
        x = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(DRAWN):
            x = torch.cat([x, draw(net(x[:, -WINDOW:])[0])], 1)

    return {
        "train": timed(train, 1 / STEPS),
        "with a cache": timed(with_cache, 1),
        "as nanoGPT draws": timed(as_nanogpt, 1),
    }


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=7)
    data = np.random.default_rng(0).integers(0, TOKENS, (STEPS, BATCH, WINDOW)).astype(np.int32)
    learner = gradient_learner(model_of(WINDOW), optax.adamw(1e-3))
    training, drawing = {"genjax": steps_of(learner, data)}, drawing_of_genjax()
    if importlib.util.find_spec("torch") is not None:
        theirs = of_torch(data)
        training["torch"] = theirs.pop("train")
        drawing |= theirs
    rows = []
    targets = {"recomputed": ">= 5", "with a cache": ">= 2", "as nanoGPT draws": ">= 4"}
    seconds = interleaved(training, repeats=options.repeats)
    if "torch" in seconds:
        times = f"torch, {milliseconds(seconds['torch'])}; {milliseconds(seconds['genjax'])}"
        rows.append(
            Row("GPT 4 x 128, training step: torch / genjax", ratio(seconds, "torch", "genjax"), ">= 1.2", times)
        )
    seconds = interleaved(drawing, repeats=options.repeats)
    for rival in [name for name in drawing if name != "cached"]:
        times = f"{rival}, {milliseconds(seconds[rival])}; {milliseconds(seconds['cached'])}"
        name = rival if rival == "recomputed" else f"torch {rival}"
        rows.append(Row(f"{DRAWN} tokens: {name} / cached", ratio(seconds, rival, "cached"), targets[rival], times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
