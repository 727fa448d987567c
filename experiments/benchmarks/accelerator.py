"""The accelerator campaign: agreement with the CPU, bfloat16, speed, memory and the shortest recipes on one device.

    python experiments/benchmarks/accelerator.py [--tiny] [--only agreement speed] [--again] [--json]

One command of at most 10 minutes on one GPU or TPU. It writes ``accelerator.json`` (``--out``) after every measurement
and prints a table; a second start measures what is missing, with ``--again`` also what failed. ``--tiny`` runs
everything at about a hundredth of its size, on CPUs too. Not yet run on an accelerator.

* agreement/FAMILY: relative errors of the loss and of the update of one step, on the device against the CPU, with
  float32 products of full precision, and of the same step in bfloat16 against float32.
* speed/MODEL/DTYPE: time and FLOPs of a training step, its share of the chip's bfloat16 peak, and its memory.
* recipe/...: training by a committed recipe, for about a minute; replicas: the time of eight against that of one.
* rival/gpt: a training step of GPT in bfloat16 against the same network under ``torch.compile``, where torch is.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cells
import jax
import jax.numpy as jnp
import numpy as np
import optax
from cells import Cell, Unavailable
from report import machine

from genjax import (
    StopTraining,
    autoregressive,
    boltzmann,
    diffusion,
    energy,
    flow,
    gan,
    gradient_learner,
    moment_matching,
    nets,
    ops,
    runner,
    vae,
)
from genjax.compilation import enable_compilation_cache
from genjax.roofline import CHIPS, Chip, count_flops

EXPERIMENTS = Path(__file__).parents[1]
SECONDS = 600  # of all cells together
TINY_PATIENCE = 10  # factor on the limits of cells
TOLERANCE = 1e-3  # relative, in float32
HALF_TOLERANCE = 0.05  # relative, of the loss in bfloat16
HALF_UPDATE_TOLERANCE = 0.5  # relative, of the update of all parameters in bfloat16
GOOD_NATS, GOOD_SECONDS, GOOD_RATIO = 1.46, 60.0, 2.0


class Sizes(NamedTuple):
    """Sizes of the networks and data that are measured.

    Attributes:
      width: number of channels of the U-Net and the GAN; transformers have six times as many, dense layers sixteen.
      layers: number of layers of transformers.
      blocks: number of residual blocks at each of the U-Net's resolutions.
      length: number of tokens of a sequence.
      image: height and width of an image.
      batch: number of examples of a minibatch.
      steps: number of steps in a dispatch that is timed.
      recipe: number of steps of a recipe.
    """

    width: int = 64
    layers: int = 6
    blocks: int = 2
    length: int = 256
    image: int = 32
    batch: int = 128
    steps: int = 20
    recipe: int = 3_000


TINY = Sizes(width=8, layers=1, blocks=1, length=16, image=8, batch=4, steps=2, recipe=4)
Workload = tuple[Any, jax.ShapeDtypeStruct]


def gpt(sizes: Sizes) -> autoregressive.GPT:
    """Return a GPT of bytes."""
    return autoregressive.GPT(
        num_values=256,
        length=sizes.length,
        num_layers=sizes.layers,
        num_heads=max(1, sizes.width // 8),
        features=6 * sizes.width,
        use_bias=False,
    )


def tokens(sizes: Sizes) -> jax.ShapeDtypeStruct:
    """Return the shape of its batches."""
    return jax.ShapeDtypeStruct((sizes.batch // 2, sizes.length), jnp.int32)


def workloads(sizes: Sizes) -> dict[str, Callable[[], Workload]]:
    """Return the models whose speed is measured, by name."""
    shape, width = (sizes.image, sizes.image, 3), sizes.width

    images = jax.ShapeDtypeStruct((sizes.batch, *shape), jnp.float32)

    def diffused(net: Any) -> Workload:
        return diffusion.Diffusion(shape=shape, net=net), images

    def dense_vae() -> Workload:
        model = vae.VAE(
            latent_dim=width,
            encoder=nets.MLP((16 * width, 16 * width, 2 * width)),
            decoder=nets.MLP((16 * width, 16 * width), output_shape=shape),
            likelihood=ops.Bernoulli(),
        )
        return model, images

    def dcgan() -> Workload:
        players = {
            "generator": gan.DCGANGenerator((4 * width, 2 * width), shape),
            "discriminator": gan.DCGANDiscriminator((2 * width, 4 * width)),
        }
        return gan.GAN(latent_dim=width, **players), images

    return {
        "gpt": lambda: (gpt(sizes), tokens(sizes)),
        "unet": lambda: diffused(nets.UNet(width, num_blocks=sizes.blocks, attention_at=(sizes.image // 4,))),
        "dit": lambda: diffused(
            nets.DiT(patch_size=2, features=6 * width, num_layers=sizes.layers, num_heads=max(1, width // 8))
        ),
        "vae": dense_vae,
        "gan": dcgan,
    }


def small_models() -> dict[str, Callable[[], Any]]:
    """Return a small model of each family, of vectors of 8 numbers or of tokens."""
    hidden = 32
    return {
        "vae": lambda: vae.VAE(
            latent_dim=2, encoder=nets.MLP((hidden, 4)), decoder=nets.MLP((hidden, 8)), likelihood=ops.Bernoulli()
        ),
        "gan": lambda: gan.GAN(latent_dim=4, generator=nets.MLP((hidden, 8)), discriminator=nets.MLP((hidden, 1))),
        "flow": lambda: flow.real_nvp(shape=(8,), num_layers=4, hidden=(hidden,)),
        "autoregressive": lambda: gpt(TINY),
        "diffusion": lambda: diffusion.Diffusion(shape=(8,), net=nets.DenoisingMLP((hidden, hidden))),
        "boltzmann": lambda: boltzmann.RBM(num_hidden=16, shape=(8,)),
        "energy": lambda: energy.EnergyModel(
            net=nets.MLP((hidden, 1)), base=energy.Gaussian((8,)), rules=(energy.DenoisingScoreMatching(noise_std=0.5),)
        ),
        "moment_matching": lambda: moment_matching.GMMN(
            latent_dim=4, generator=nets.MLP((hidden, 8)), bandwidths=(1.0, 2.0)
        ),
    }


def batch_of(shape: jax.ShapeDtypeStruct) -> dict[str, np.ndarray]:
    """Return random data: tokens, or zeros and ones."""
    high = 256 if shape.dtype == jnp.int32 else 2
    return {"x": np.random.default_rng(0).integers(0, high, shape.shape).astype(shape.dtype)}


def agreement(model: Any) -> Mapping[str, Any]:
    """Return relative errors of loss and update of one step: device against CPU, bfloat16 against float32."""
    is_text = isinstance(model, autoregressive.GPT)
    shape = tokens(TINY) if is_text else jax.ShapeDtypeStruct((64, 8), jnp.float32)
    learner, batch = gradient_learner(model, optax.sgd(1e-2)), batch_of(shape)
    devices = {"cpu": cpu(), "device": jax.devices()[0]}
    with jax.default_device(devices["cpu"]):
        state = jax.jit(learner.init)(jax.random.key(0), batch)

    def step(where: str, dtype: Any) -> tuple[Any, np.ndarray]:
        def take(state: Any, key: jax.Array, batch: Any) -> Any:
            with nets.computing(dtype=dtype), jax.default_matmul_precision("highest"):
                return learner.step(state, key, batch)

        arguments = jax.device_put((state, jax.random.key(1), batch), devices[where])
        after, metrics = jax.jit(take)(*arguments)
        losses = [value for name, value in sorted(metrics.items()) if name.rpartition("/")[2] == "loss"]
        updates = jax.tree.map(lambda a, b: np.ravel(np.asarray(a) - np.asarray(b)), after.params, state.params)
        return np.asarray(losses), np.concatenate(jax.tree.leaves(updates))

    exact, device, half = step("cpu", "float32"), step("device", "float32"), step("device", "bfloat16")
    errors = {
        "loss": relative(device[0], exact[0]),
        "update": relative(device[1], exact[1]),
        "bfloat16 loss": relative(half[0], device[0]),
        "bfloat16 update": relative(half[1], device[1]),
    }
    limits = (TOLERANCE, TOLERANCE, HALF_TOLERANCE, HALF_UPDATE_TOLERANCE)
    return {**errors, "met": all(error <= limit for error, limit in zip(errors.values(), limits, strict=True))}


def cpu() -> Any:
    """Return the CPU as a device of JAX."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError as error:
        raise Unavailable(f"JAX has no CPU beside {jax.default_backend()}; add cpu to JAX_PLATFORMS") from error


def relative(value: np.ndarray, exact: np.ndarray) -> float:
    """Return the norm of an error over that of what is exact."""
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


class Timing(NamedTuple):
    """Time of a training step in seconds, its FLOPs, and the bytes of its program."""

    seconds: float
    flops: float
    num_bytes: int


def time_step(workload: Workload, steps: int, *, dtype: Any = "float32", remat: bool = False, seeds: int = 1) -> Timing:
    """Time dispatches of training steps, for one replica or for several by ``vmap``; the best of three counts."""
    model, shape = workload
    learner, batch = gradient_learner(model, optax.adam(1e-3)), jax.device_put(batch_of(shape))
    keys = jax.random.split(jax.random.key(0), seeds)

    def many(state: Any, keys: jax.Array) -> Any:
        def step(state: Any, key: jax.Array) -> tuple[Any, None]:
            with nets.computing(dtype=dtype, remat=remat):
                return learner.step(state, key, batch)[0], None

        return jax.lax.scan(step, state, keys)[0]

    one = jax.jit(learner.init)(jax.random.key(0), batch)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * seeds), one)
    keys = jax.vmap(lambda key: jax.random.split(key, steps))(keys)
    traced = jax.jit(jax.vmap(many), donate_argnums=0).trace(state, keys)
    compiled = traced.lower().compile()
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        state = jax.block_until_ready(compiled(state, keys))
        seconds.append((time.perf_counter() - started) / steps)
    memory: Any = compiled.memory_analysis()
    num_bytes = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return Timing(min(seconds[1:]), count_flops(traced.jaxpr) / steps, num_bytes)


def speed(workload: Workload, steps: int, **settings: Any) -> Mapping[str, Any]:
    """Return time, FLOPs, share of the peak and memory of a training step."""
    timing, chip = time_step(workload, steps, **settings), chip_of(jax.devices()[0].device_kind)
    values = {"ms": 1e3 * timing.seconds, "GFLOP": timing.flops / 1e9, "MB": timing.num_bytes / 1e6}
    return values if chip is None else {**values, "MFU": timing.flops / timing.seconds / chip.flops}


def chip_of(kind: str) -> Chip | None:
    """Return the published peaks of a device by what JAX calls it; None for CPUs and unknown ones."""
    names = {"TPU v5 lite": "v5e", "TPU v6 lite": "v6e", "TPU v5": "v5p", "TPU v4": "v4"}
    name = next((chip for start, chip in names.items() if kind.startswith(start)), None)
    name = name or next((chip for chip in CHIPS if chip in kind.lower()), None)
    return None if name is None else CHIPS[name]


def replicas(workload: Workload, steps: int) -> Mapping[str, Any]:
    """Return the time of a step of eight replicas in one program over that of one."""
    one, eight = (time_step(workload, steps, seeds=seeds) for seeds in (1, 8))
    ratio = eight.seconds / one.seconds
    return {"ratio": ratio, "ms of one": 1e3 * one.seconds, "met": ratio <= GOOD_RATIO}


def trained(name: str, seconds: float, **arguments: Any) -> tuple[runner.Run, float]:
    """Train a committed recipe in bfloat16, for so many seconds at most, and return the run and its seconds."""
    experiment = runner.load_experiment_fn(EXPERIMENTS / f"{name}.py")(**arguments)
    settings: dict[str, Any] = {"sample_score": None, "callbacks": (stop_after(seconds),), "dtype": "bfloat16"}
    experiment = dataclasses.replace(experiment, **settings)
    started = time.perf_counter()
    run = runner.train(experiment, progress=False)
    return run, time.perf_counter() - started


def stop_after(seconds: float) -> Callable[..., None]:
    """Return a callback that stops training so many seconds from now."""
    end = time.perf_counter() + seconds

    def stop(step: int, metrics: Mapping[str, Any], variables: Any) -> None:
        del step, metrics, variables
        if time.perf_counter() > end:
            raise StopTraining

    return stop


def shakespeare(sizes: Sizes) -> Mapping[str, Any]:
    """Return the nats per byte of tiny Shakespeare's validation split after training, and the time of all training."""
    layers = {"num_layers": sizes.layers, "num_heads": 2, "features": 6 * sizes.width, "length": sizes.length}
    settings = {"dropout": 0.2, "steps": sizes.recipe, "batch_size": min(64, sizes.batch)}
    run, seconds = trained("gpt_shakespeare", GOOD_SECONDS, **layers, **settings)
    result = run.evaluate(jax.random.key(0), metrics=("log_prob",), split="validation")["log_prob"]
    assert result.value is not None
    nats = -result.value / sizes.length
    met = nats <= GOOD_NATS and seconds <= GOOD_SECONDS
    return {"nats": nats, "seconds of training": seconds, "steps": run.step, "met": met}


def fashion(sizes: Sizes) -> Mapping[str, Any]:
    """Return the Fréchet distance of samples from Fashion-MNIST's test images, in pixels, after a short training."""
    width, count = sizes.width, min(2_000, 8 * sizes.batch)
    settings = {"width": width, "steps": sizes.recipe, "batch_size": sizes.batch, "ema_decay": 0.999}
    run, seconds = trained("diffusion_fashion_mnist", GOOD_SECONDS, **settings)
    metrics = {"metrics": ("frechet_distance",), "num_samples": count}
    result = run.evaluate(jax.random.key(0), **metrics)["frechet_distance"]
    return {"Fréchet distance": result.value, "seconds of training": seconds, "steps": run.step}


def torch_rival(sizes: Sizes) -> Mapping[str, Any]:
    """Return the time of our step of GPT over that of the same network under ``torch.compile``, both in bfloat16."""
    if importlib.util.find_spec("torch") is None:
        raise Unavailable("torch is not installed")
    model, shape = gpt(sizes), tokens(sizes)
    ours = time_step((model, shape), sizes.steps, dtype="bfloat16").seconds
    theirs = torch_step(model, shape, sizes.steps)
    return {"ratio": ours / theirs, "ms of torch": 1e3 * theirs, "met": ours <= theirs}


def torch_step(model: autoregressive.GPT, shape: jax.ShapeDtypeStruct, steps: int) -> float:
    """Return the seconds of a compiled training step of PyTorch; the best of three dispatches counts."""
    import torch  # pyright: ignore[reportMissingImports]
    from gpt import torch_net

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    names = ("num_values", "num_layers", "num_heads", "features")
    net = torch_net(model.length, {name: getattr(model, name) for name in names})
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=device == "cuda")
    x = torch.as_tensor(batch_of(shape)["x"], dtype=torch.long, device=device)

    @torch.compile
    def loss_of(x: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            logits = net(x[:, :-1])[0]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), x[:, 1:].flatten())

    def dispatch() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device
        return (time.perf_counter() - started) / steps

    return min([dispatch() for _ in range(4)][1:])


def all_cells(sizes: Sizes) -> list[Cell]:
    """Return all measurements, the most important first."""
    models, steps = workloads(sizes), sizes.steps
    limits = f"<= {TOLERANCE:g}, {HALF_TOLERANCE:g} in bfloat16"
    of_family = [
        Cell(f"agreement/{name}", functools.partial(lambda make: agreement(make()), make), limits, 60)
        for name, make in small_models().items()
    ]
    of_model = [
        Cell(
            f"speed/{name}/{dtype}",
            functools.partial(lambda make, dtype: speed(make(), steps, dtype=dtype), make, dtype),
        )
        for name, make in models.items()
        for dtype in ("bfloat16", "float32")
    ]
    of_remat = [
        Cell(
            f"speed/{name}/bfloat16 remat",
            functools.partial(lambda make: speed(make(), steps, dtype="bfloat16", remat=True), models[name]),
        )
        for name in ("gpt", "unet")
    ]
    return [
        *of_family,
        *of_model,
        Cell("replicas/vae", lambda: replicas(models["vae"](), steps), f"<= {GOOD_RATIO:g}"),
        Cell("recipe/shakespeare", lambda: shakespeare(sizes), f"<= {GOOD_NATS:g} nats in {GOOD_SECONDS:g} s", 180),
        Cell("recipe/fashion_mnist", lambda: fashion(sizes), "", 180),
        Cell("rival/gpt", lambda: torch_rival(sizes), "<= 1"),
        *of_remat,
    ]


def main() -> None:
    """Watch the cells, and print the table; with ``--worker``, measure them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="run everything at about a hundredth of its size")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of the names of cells; all by default")
    parser.add_argument("--again", action="store_true", help="measure again what failed or was unavailable")
    parser.add_argument("--out", type=Path, default=Path("accelerator.json"), help="file of the results")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time of all cells together")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)  # the deadline
    options = parser.parse_args()
    if options.worker is not None:
        measure(options)
        return
    if options.again:
        cells.forget(options.out, ("failed", "unavailable"))
    deadline = time.time() + options.seconds
    status = cells.supervise([sys.executable, *sys.argv, "--worker", str(deadline)], options.out, deadline)
    contents = cells.read(options.out)
    print(json.dumps(contents) if options.json else f"{cells.table(contents)}\n{contents.get('machine', '')}")
    sys.exit(status)


def measure(options: argparse.Namespace) -> None:
    """Measure the cells that are missing; raise ValueError if the file is that of another machine or size."""
    contents, here = cells.read(options.out), {"machine": machine(), "tiny": options.tiny}
    for name, value in here.items():
        if contents.setdefault(name, value) != value:
            raise ValueError(
                f"{options.out} has {name} {contents[name]!r}, but here it is {value!r}; use another --out"
            )
    cells.write(options.out, contents)
    enable_compilation_cache()
    chosen = [
        cell for cell in all_cells(TINY if options.tiny else Sizes()) if cell.name.startswith(tuple(options.only))
    ]
    if options.tiny:  # on CPUs, where programs compile for longer
        chosen = [cell._replace(limit=TINY_PATIENCE * cell.limit) for cell in chosen]
    cells.run_cells(chosen, options.out, options.worker)


if __name__ == "__main__":
    main()
