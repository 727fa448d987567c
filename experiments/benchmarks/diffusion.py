"""Speed of a diffusion U-Net in training and sampling, against diffusers in eager PyTorch.

    python experiments/benchmarks/diffusion.py [--json]

Images of 28 x 28 x 1, 32 channels times 1, 2 and 2, two blocks at each resolution and no attention, in the same process
on two cores, in turns. (On a machine with other work, prefix the command with ``taskset -c 0`` for a fairer comparison
on one thread, because threads of PyTorch wait for each other in every operation.) Training: noise prediction at random
times, Adam, batches of 32; genjax runs its steps as one ``lax.scan`` in a compiled function, PyTorch step by step with
the fused Adam. Sampling: 16 images with 50 steps of DDIM; one compiled program against a loop with ``DDIMScheduler``.
PyTorch uses channels-last images, which make its forward pass a tenth faster and leave its training step as fast.

PyTorch has one thread per core. genjax has one JAX device per core and splits batches over them, as
``JAX_NUM_CPU_DEVICES=2 genjax train`` does; set it to 1 to measure one device with a thread per core.

The cost of the loops is measured as well: sampling against 50 calls of the compiled denoiser, and a scanned training
step against the compiled loss and gradient alone; and so is sampling in a single step against 50, what distillation and
consistency models gain.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, steps_of, timed

from genjax import Variables, diffusion, gradient_learner, nets
from genjax.compilation import jit
from genjax.sharding import Placement

SHAPE, FEATURES, MULTIPLIERS, BLOCKS, GROUPS = (28, 28, 1), 32, (1, 2, 2), 2, 8
BATCH, STEPS, SAMPLES, SAMPLER_STEPS, LEARNING_RATE = 32, 4, 16, 50, 1e-4

MODEL = diffusion.Diffusion(
    shape=SHAPE,
    net=nets.UNet(FEATURES, MULTIPLIERS, BLOCKS, num_groups=GROUPS, modulation="shift"),
    process=diffusion.processes.DiscreteVariancePreserving(),
    parametrization=diffusion.parametrizations.Noise(),
    times=diffusion.times.DiscreteTimes(),
    sampler=diffusion.samplers.DDIM(),
    grid=diffusion.grids.Uniform(),
    num_steps=SAMPLER_STEPS,
)
Contestants = dict[str, Callable[[], float]]


def of_genjax(data: np.ndarray) -> tuple[Contestants, int]:
    """Return timed contestants (training, loss and gradient, sampling, denoiser) and the number of parameters."""
    placement = Placement()
    keys = list(placement.replicate(jax.random.split(jax.random.key(1), STEPS)))
    batches = [placement.shard(x, axis=0) for x in data]
    noise = placement.shard(data[0, :SAMPLES], axis=0)
    variables = placement.replicate(jit(MODEL.init)(jax.random.key(0), {"x": jnp.asarray(data[0])}))

    @jit
    def bare(variables: Variables, key: jax.Array, x: jax.Array) -> Any:
        return jax.value_and_grad(MODEL.loss, has_aux=True)(*variables, key, {"x": x}, jnp.int32(0))

    sample = jit(functools.partial(MODEL.sample, num_samples=SAMPLES), out_shardings=placement.split(0))
    one_step = jit(functools.partial(MODEL.sample, num_samples=SAMPLES, num_steps=1), out_shardings=placement.split(0))
    call, wait = jit(MODEL.predict), jax.block_until_ready
    contestants = {
        "training": steps_of(gradient_learner(MODEL, optax.adam(LEARNING_RATE)), placement.shard(data, axis=1)),
        "bare": timed(lambda: [wait(bare(variables, *now)) for now in zip(keys, batches, strict=True)], 1 / STEPS),
        "sampling": timed(lambda: wait(sample(variables, jax.random.key(2))), 1),
        "one step": timed(lambda: wait(one_step(variables, jax.random.key(2))), 1),
        "denoiser": timed(lambda: [wait(call(variables, noise, 0.5)) for _ in range(SAMPLER_STEPS)], 1),
    }
    return contestants, sum(leaf.size for leaf in jax.tree.leaves(variables.params))


def of_torch(data: np.ndarray) -> tuple[Contestants, int]:
    """Return timed contestants (training, sampling) and the number of parameters."""
    import torch  # pyright: ignore[reportMissingImports]
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel  # pyright: ignore

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    widths = tuple(FEATURES * multiplier for multiplier in MULTIPLIERS)
    batches = torch.tensor(data).permute(0, 1, 4, 2, 3).contiguous()

    settings: dict[str, Any] = {"in_channels": SHAPE[2], "out_channels": SHAPE[2], "add_attention": False}
    settings |= {"down_block_types": ("DownBlock2D",) * len(widths), "up_block_types": ("UpBlock2D",) * len(widths)}
    unet: Any = UNet2DModel
    net = unet(
        sample_size=SHAPE[0], layers_per_block=BLOCKS, block_out_channels=widths, norm_num_groups=GROUPS, **settings
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, fused=True)
    process: Any = DDPMScheduler()
    sampler: Any = DDIMScheduler(clip_sample=False)
    sampler.set_timesteps(SAMPLER_STEPS)

    def train() -> None:
        for x in batches:
            noise, t = torch.randn_like(x), torch.randint(0, process.config.num_train_timesteps, x.shape[:1])
            noisy = process.add_noise(x, noise, t).to(memory_format=torch.channels_last)
            loss = torch.nn.functional.mse_loss(net(noisy, t, return_dict=False)[0], noise)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    def sample() -> None:
        with torch.no_grad():
            x = torch.randn(SAMPLES, SHAPE[2], *SHAPE[:2]).to(memory_format=torch.channels_last)
            for t in sampler.timesteps:
                x = sampler.step(net(x, t, return_dict=False)[0], t, x, return_dict=False)[0]

    contestants = {"torch training": timed(train, 1 / STEPS), "torch sampling": timed(sample, 1)}
    return contestants, sum(p.numel() for p in net.parameters())


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    data = np.random.default_rng(0).standard_normal((STEPS, BATCH, *SHAPE), np.float32)
    contestants, ours = of_genjax(data)
    rows = []
    with_rival = all(importlib.util.find_spec(name) is not None for name in ("torch", "diffusers"))
    if with_rival:
        of_rival, theirs = of_torch(data)
        contestants |= of_rival
        rows.append(
            Row("number of parameters: genjax / diffusers", ours / theirs, "0.95 to 1.05", f"diffusers, {theirs:,}")
        )
    seconds = interleaved(contestants, repeats=options.repeats)
    devices = "one device" if jax.local_device_count() == 1 else f"{jax.local_device_count()} devices"

    def add(row: str, over: str, under: str, target: str, rival: str) -> None:
        times = f"{rival}, {milliseconds(seconds[over])}; {milliseconds(seconds[under])}"
        rows.append(Row(f"{devices}, {row}", ratio(seconds, over, under), target, times))

    if with_rival:
        targets = (">= 0.85", ">= 0.95") if devices == "one device" else (">= 1.0", ">= 1.4")
        for part, target in zip(("training", "sampling"), targets, strict=True):
            add(f"images a second in {part}: genjax / diffusers", f"torch {part}", part, target, "diffusers")
    add("rate of training steps / of loss and gradient", "bare", "training", ">= 0.9", "the gradient alone")
    add("50 calls of the denoiser / sampling", "denoiser", "sampling", ">= 0.95", "calls of the denoiser alone")
    add("sampling in 50 steps / in one, as few-step models do", "sampling", "one step", ">= 20", "50 steps")
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
