"""Speed of sampling images pixel by pixel: cached steps against full recomputation and naive PyTorch.

    python experiments/benchmarks/decoding.py [--json]

Sixteen images of each model, in the same process on two threads, in turns: gated PixelCNN with 8 layers and 64
channels, MADE with 2 x 500 units and PixelRNNs with 2 layers on binary images of 28 x 28 pixels, and PixelCNN++ with 3
resolutions, 2 blocks and 64 channels on colour images of 32 x 32. "Recomputed" runs the whole network for every pixel
in one compiled loop; PyTorch is the gated network in eager mode, as its users write it. Both take equal time for every
pixel, so that a few pixels of the first row are timed and extrapolated to all.
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
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, timed

from genjax import autoregressive, nets

SIZE, LAYERS, FEATURES, REACH, IMAGES = 28, 8, 64, 2, 16
BINARY = {"shape": (SIZE, SIZE, 1), "num_values": 2}
MODELS = {
    "gated PixelCNN": autoregressive.gated_pixel_cnn(**BINARY, num_layers=LAYERS, features=FEATURES, reach=REACH),
    "PixelCNN++": autoregressive.pixel_cnn_pp(shape=(32, 32, 3), num_blocks=2, features=64),
    "PixelRNN, diagonal": autoregressive.pixel_rnn(**BINARY, kind="diagonal", num_layers=2, features=32),
    "PixelRNN, rows": autoregressive.pixel_rnn(**BINARY, kind="row", num_layers=2, features=32),
    "MADE": autoregressive.MADE(**BINARY, features=(500, 500)),
}


def of_model(model: Any, pixels: int) -> dict[str, Callable[[], float]]:
    """Return seconds for all images with cached steps, and with full recomputation, extrapolated from a few pixels."""
    height, width, channels = model.shape
    variables = jax.jit(model.init)(jax.random.key(0), {"x": jnp.zeros((1, *model.shape), jnp.int32)})
    cached = jax.jit(lambda variables, key: model.sample(variables, key, IMAGES))
    sampling = autoregressive.Sampling()

    def outputs_of(params: Any, x: jax.Array, column: jax.Array) -> jax.Array:
        """Run the whole network on all pixels and use one."""
        inputs = x.astype(jnp.float32) / (model.num_values - 1)
        if isinstance(model, autoregressive.MADE):
            net = nets.MaskedMLP(model.features, 1, model.activation, residual=model.residual)
            logits = jnp.asarray(net.apply({"params": params}, inputs.reshape(IMAGES, -1)))[:, 0, column]
            return jnp.stack([jnp.zeros_like(logits), logits], axis=1)
        return jnp.asarray(model.net.apply({"params": params}, inputs))[:, 0, column]

    @jax.jit
    def recomputed(params: Any, key: jax.Array) -> jax.Array:
        def pixel(x: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            column, uniforms = now
            outputs, one = outputs_of(params, x, column), x[:, 0, column]
            for channel in range(channels):
                binary = isinstance(model, autoregressive.MADE)
                logits = outputs if binary else model.distribution.logits(outputs, one, channel)
                one = one.at[:, channel].set(sampling.draw(logits, uniforms[channel]))
            return x.at[:, 0, column].set(one), None

        uniforms = jax.random.uniform(key, (pixels, channels, IMAGES))
        return jax.lax.scan(pixel, jnp.zeros((IMAGES, *model.shape), jnp.int32), (jnp.arange(pixels), uniforms))[0]

    return {
        "cached": timed(lambda: cached(variables, jax.random.key(1)).block_until_ready(), 1),
        "recomputed": timed(
            lambda: recomputed(variables.params["net"], jax.random.key(1)).block_until_ready(), height * width / pixels
        ),
    }


def of_torch() -> Callable[[], float]:
    """Return seconds for all images, with the whole network for every pixel."""
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


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=3)
    targets = {("gated PixelCNN", "recomputed"): ">= 30", ("gated PixelCNN", "torch"): ">= 20"}
    targets |= {("PixelCNN++", "recomputed"): ">= 50"}
    rows = []
    for name, model in MODELS.items():
        contestants = of_model(model, pixels=4 if name == "PixelCNN++" else SIZE)
        if name == "gated PixelCNN" and importlib.util.find_spec("torch") is not None:
            contestants["torch"] = of_torch()
        seconds = interleaved(contestants, repeats=options.repeats)
        for rival in [other for other in contestants if other != "cached"]:
            times = f"{rival}, {milliseconds(seconds[rival])}; {milliseconds(seconds['cached'])}"
            row = f"{IMAGES} images by {name}: {rival} / cached"
            target = targets.get((name, rival), "stated")
            rows.append(Row(row, ratio(seconds, rival, "cached"), target, times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
