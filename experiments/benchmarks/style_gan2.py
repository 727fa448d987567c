"""Speed of StyleGAN2 at 32 x 32 pixels against the same mathematics in eager PyTorch.

    python experiments/benchmarks/style_gan2.py [--json]

The generator has 64, 64, 32 and 32 channels from 4 to 32 pixels and styles of 64 numbers, the discriminator the same in
reverse; batches have 16 images. In the same process on two threads, in turns: the forward pass of the generator from
noise, and a training step of both networks (non-saturating loss, style mixing, R1 at every 16th and path lengths at
every 4th step, Adam), averaged over 16 steps. PyTorch computes the same functions: outputs of its networks with the
weights of genjax agree before anything is timed. Its convolutions scale inputs and outputs, as genjax's do.

The last row compares the two ways of writing a modulated convolution in genjax, forwards and backwards in a scan: one
convolution of scaled inputs, and one with a group for each example.
"""

from __future__ import annotations

import functools
import importlib.util
import math
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

from genjax import gan, gradient_learner
from genjax.compilation import jit

FEATURES, LATENT_DIM, LAYERS, BATCH, STEPS = (64, 64, 32, 32), 64, 2, 16, 16
SHAPE, GAMMA, LEARNING_RATE = (32, 32, 3), 0.01, 2.5e-3
MODEL = gan.StyleGAN2(
    latent_dim=LATENT_DIM,
    mapping=gan.MappingNetwork(LATENT_DIM, num_layers=LAYERS),
    synthesis=gan.SynthesisNetwork(FEATURES, output_shape=SHAPE),
    discriminator=gan.StyleDiscriminator(FEATURES[::-1]),
    penalties=(gan.R1(weight=GAMMA, every=16),),
)


class Rival:
    """The networks in PyTorch, with the weights of genjax."""

    def __init__(self, params: Any) -> None:
        import torch  # pyright: ignore[reportMissingImports]

        def parameter(leaf: Any) -> Any:
            array = np.array(leaf)
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array  # kernels HWIO to OIHW
            return torch.nn.Parameter(torch.tensor(np.ascontiguousarray(array)))

        self.fn, self.weights = torch.nn.functional, jax.tree.map(parameter, params)
        self.cat = torch.cat
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.fir = torch.outer(taps, taps)[None, None]

    def mapping(self, z: Any) -> Any:
        """Map noise (B, L) to styles (B, D)."""
        p, hidden = self.weights["mapping"], z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for i in range(LAYERS):
            hidden = self._act(_dense(p[f"EqualizedDense_{i}"], hidden, 0.01))
        return hidden

    def synthesis(self, styles: Any, noise: Any) -> Any:
        """Map styles (B, L, D) and noise (B, P) to images (B, C, H, W)."""
        p, start, picture = self.weights["synthesis"], 0, None
        hidden = p["constant"].permute(2, 0, 1)[None].expand(len(styles), -1, -1, -1)
        for i in range(len(FEATURES)):
            for j in range(1 if i == 0 else 2):
                number = 2 * i - 1 + j if i else 0
                hidden = self._up(hidden) if i and j == 0 else hidden
                size = hidden.shape[2] * hidden.shape[3]
                hidden = self._layer(
                    p[f"StyleLayer_{number}"], hidden, styles[:, number], noise[:, start : start + size]
                )
                start += size
            to_image = p[f"ToImage_{i}"]
            added = self._modulated(to_image, hidden, styles[:, 2 * i + 1], demodulate=False)
            added = added + to_image["bias"][None, :, None, None]
            picture = added if picture is None else self._up(picture) + added
        return picture

    def discriminator(self, x: Any) -> Any:
        """Map images (B, C, H, W) to outputs (B,)."""
        p = self.weights["discriminator"]
        hidden = self._act(self._conv(p["EqualizedConv_0"], x, 0))
        for i in range(len(FEATURES) - 1):
            block = p[f"ResidualDownBlock_{i}"]
            inner = self._act(self._conv(block["EqualizedConv_0"], hidden, 1))
            inner = self._act(self.fn.conv2d(self._down(inner, 1, 2), _scaled(block), block["bias"], stride=2))
            hidden = (inner + self._conv(block["EqualizedConv_1"], self._down(hidden), 0)) / math.sqrt(2)
        groups = hidden.reshape(-1, 4, *hidden.shape[1:])
        deviation = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(4)
        channel = deviation[:, None, None, None].expand(-1, 1, *hidden.shape[2:])
        hidden = self._act(self._conv(p["EqualizedConv_1"], self.cat([hidden, channel], 1), 1))
        hidden = self._act(_dense(p["EqualizedDense_0"], hidden.permute(0, 2, 3, 1).flatten(1)))
        return _dense(p["EqualizedDense_1"], hidden)[:, 0]

    def _act(self, x: Any) -> Any:
        return self.fn.leaky_relu(x, 0.2) * math.sqrt(2)

    def _up(self, x: Any) -> Any:
        filters = 4 * self.fir.expand(x.shape[1], 1, 4, 4)
        return self.fn.conv_transpose2d(x, filters, stride=2, padding=1, groups=x.shape[1])

    def _down(self, x: Any, stride: int = 2, padding: int = 1) -> Any:
        filters = self.fir.expand(x.shape[1], 1, 4, 4)
        return self.fn.conv2d(x, filters, stride=stride, padding=padding, groups=x.shape[1])

    def _conv(self, p: Any, x: Any, padding: int) -> Any:
        return self.fn.conv2d(x, _scaled(p), p.get("bias"), padding=padding)

    def _modulated(self, p: Any, x: Any, w: Any, *, demodulate: bool) -> Any:
        styles, scaled = _dense(p["affine"], w), _scaled(p)
        y = self.fn.conv2d(x * styles[:, :, None, None], scaled, padding=scaled.shape[-1] // 2)
        if not demodulate:
            return y
        squared = styles.square() @ scaled.square().sum((2, 3)).T
        return y * (squared + 1e-8).rsqrt()[:, :, None, None]

    def _layer(self, p: Any, x: Any, w: Any, noise: Any) -> Any:
        y = self._modulated(p, x, w, demodulate=True) + p["noise_scale"] * noise.reshape(len(x), 1, *x.shape[2:])
        return self._act(y + p["bias"][None, :, None, None])


def _dense(p: Any, x: Any, multiplier: float = 1.0) -> Any:
    return x @ (p["kernel"] * (multiplier / math.sqrt(p["kernel"].shape[0]))) + p["bias"] * multiplier


def _scaled(p: Any) -> Any:
    return p["kernel"] / math.sqrt(math.prod(p["kernel"].shape[1:]))


def check(rival: Rival, variables: Any) -> None:
    """Raise AssertionError unless PyTorch's networks compute what those of genjax do."""
    import torch  # pyright: ignore[reportMissingImports]

    keys = jax.random.split(jax.random.key(1), 3)
    z, noise = (
        jax.random.normal(keys[0], (BATCH, LATENT_DIM)),
        jax.random.normal(keys[1], (BATCH, MODEL.synthesis.num_noise)),
    )
    x, num_styles = jax.random.normal(keys[2], (BATCH, *SHAPE)), MODEL.synthesis.num_styles
    ours, _ = MODEL._synthesize(variables, MODEL.styles(variables, z), noise)
    scores = MODEL.discriminator.apply({"params": variables.params["discriminator"]}, x)[:, 0]
    with torch.no_grad():
        w = rival.mapping(torch.tensor(np.array(z)))
        theirs = rival.synthesis(w[:, None].expand(-1, num_styles, -1), torch.tensor(np.array(noise)))
        outputs = rival.discriminator(torch.tensor(np.array(x).transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(theirs.numpy().transpose(0, 2, 3, 1), ours, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(outputs.numpy(), scores, rtol=1e-3, atol=1e-3)


def of_torch(rival: Rival, data: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return contestants that report seconds per forward pass and per training step."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    num_styles, num_noise = MODEL.synthesis.num_styles, MODEL.synthesis.num_noise

    def optimizer(*names: str) -> Any:
        leaves = [leaf for name in names for leaf in jax.tree.leaves(rival.weights[name])]
        return torch.optim.Adam(leaves, lr=LEARNING_RATE, betas=(0.0, 0.99), fused=True)

    adam_g, adam_d = optimizer("mapping", "synthesis"), optimizer("discriminator")
    batches = [torch.tensor(x.transpose(0, 3, 1, 2)) for x in data]
    mean = torch.zeros(())

    def mixed(count: int) -> Any:
        first, second = rival.mapping(torch.randn(2 * count, LATENT_DIM)).chunk(2)
        start = torch.where(torch.rand(count) < 0.9, torch.randint(1, num_styles, (count,)), num_styles)
        is_second = torch.arange(num_styles)[None] >= start[:, None]
        return torch.where(is_second[..., None], second[:, None], first[:, None])

    def generate(count: int) -> Any:
        return rival.synthesis(mixed(count), torch.randn(count, num_noise))

    def update(adam: Any, loss: Any) -> None:
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def train() -> None:
        nonlocal mean
        for i, x in enumerate(batches):
            with torch.no_grad():
                fake = generate(BATCH)
            real_out, fake_out = rival.discriminator(torch.cat([x, fake])).chunk(2)
            loss = fn.softplus(-real_out).mean() + fn.softplus(fake_out).mean()
            if i % 16 == 0:
                real = x.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(rival.discriminator(real).sum(), real, create_graph=True)
                loss = loss + 16 * GAMMA / 2 * gradient.square().sum((1, 2, 3)).mean()
            update(adam_d, loss)
            loss = fn.softplus(-rival.discriminator(generate(BATCH))).mean()
            if i % 4 == 0:
                styles = mixed(BATCH // 2)
                images = rival.synthesis(styles, torch.randn(BATCH // 2, num_noise))
                y = torch.randn_like(images) / math.sqrt(math.prod(images.shape[2:]))
                (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
                lengths = gradient.square().sum(2).mean(1).sqrt()
                mean = mean + 0.01 * (lengths.mean().detach() - mean)
                loss = loss + 4 * 2 * (lengths - mean).square().mean()
            update(adam_g, loss)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(STEPS):
                w = rival.mapping(torch.randn(BATCH, LATENT_DIM))
                rival.synthesis(w[:, None].expand(-1, num_styles, -1), torch.randn(BATCH, num_noise))

    torch.set_num_threads(2)
    return {"forward": timed(forward, 1 / STEPS), "train": timed(train, 1 / STEPS)}


def forward_of(variables: Any) -> Callable[[], float]:
    """Return a contestant that reports seconds per batch of samples."""
    sample = jit(functools.partial(MODEL.sample, num_samples=BATCH))
    keys = jax.random.split(jax.random.key(2), STEPS)
    return timed(lambda: [jax.block_until_ready(sample(variables, key)) for key in keys], 1 / STEPS)


def grouped_conv(x: jax.Array, kernel: jax.Array, styles: jax.Array) -> jax.Array:
    """Return equation 1 of the networks as one convolution with a group for each example."""
    batch, height, width, channels = x.shape
    kernels = kernel[None] * styles[:, None, None, :, None]
    kernels = kernels * jax.lax.rsqrt(jnp.sum(jnp.square(kernels), (1, 2, 3), keepdims=True) + 1e-8)
    rows = jnp.moveaxis(x, 0, 2).reshape(1, height, width, batch * channels)
    kernels = jnp.moveaxis(kernels, 0, 3).reshape(*kernel.shape[:3], -1)
    numbers = ("NHWC", "HWIO", "NHWC")
    outputs = jax.lax.conv_general_dilated(
        rows, kernels, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=batch
    )
    return jnp.moveaxis(outputs.reshape(height, width, batch, -1), 2, 0)


def modulations() -> dict[str, Callable[[], float]]:
    """Return contestants that report seconds of a scanned gradient step of one modulated convolution."""
    keys = jax.random.split(jax.random.key(3), 3)
    x, kernel = jax.random.normal(keys[0], (BATCH, 32, 32, 32)), jax.random.normal(keys[1], (3, 3, 32, 32)) / 17
    styles = jax.random.normal(keys[2], (BATCH, 32))
    outputs = gan.modulated_conv(x, kernel, styles), grouped_conv(x, kernel, styles)
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-3)

    def contestant(function: Callable[..., jax.Array]) -> Callable[[], float]:
        @jit
        def train(kernel: jax.Array, styles: jax.Array) -> Any:
            def step(carry: Any, _: None) -> tuple[Any, None]:
                gradients = jax.grad(lambda k, s: jnp.mean(jnp.square(function(x, k, s))), (0, 1))(*carry)
                return jax.tree.map(lambda a, b: a - 1e-3 * b, carry, gradients), None

            return jax.lax.scan(step, (kernel, styles), length=8)[0]

        return timed(lambda: jax.block_until_ready(train(kernel, styles)), 1 / 8)

    return {"scaled": contestant(gan.modulated_conv), "grouped": contestant(grouped_conv)}


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=7)
    data = np.asarray(jax.random.normal(jax.random.key(0), (STEPS, BATCH, *SHAPE)))
    rows = []
    if importlib.util.find_spec("torch") is not None:
        variables = MODEL.init(jax.random.key(1), {"x": jnp.asarray(data[0])})
        rival = Rival(variables.params)
        check(rival, variables)
        rivals = of_torch(rival, data)
        adam = optax.adam(LEARNING_RATE, b1=0.0, b2=0.99)
        ours = {"forward": forward_of(variables), "train": steps_of(gradient_learner(MODEL, adam), data)}
        for name, what in (("forward", "samples of StyleGAN2"), ("train", "a training step of StyleGAN2")):
            seconds = interleaved({"genjax": ours[name], "torch": rivals[name]}, repeats=options.repeats)
            times = f"torch, {milliseconds(seconds['torch'])}; {milliseconds(seconds['genjax'])}"
            rows.append(Row(f"{what}: torch / genjax", ratio(seconds, "torch", "genjax"), "stated", times))
    seconds = interleaved(modulations(), repeats=options.repeats)
    times = f"grouped, {milliseconds(seconds['grouped'])}; {milliseconds(seconds['scaled'])}"
    rows.append(Row("modulated convolution: grouped / scaled", ratio(seconds, "grouped", "scaled"), "stated", times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
