"""Speed of Langevin chains of images, and of a training step that runs them, against eager PyTorch.

    python experiments/benchmarks/langevin.py [--json]

Two energies of 28 x 28 images: "convolutional" is two strided 3 x 3 convolutions of 32 and 64 channels, "dense" two
layers of 256, both with SiLU and a last dense layer. Sampling: 60 steps of 128 chains. Training: contrastive divergence
from noise with these steps, and one of Adam, batches of 128. genjax compiles all steps, and the whole training step,
into one program; PyTorch runs its usual loop of ``torch.autograd.grad``, with the same arithmetic, on as many threads.
Contestants run in turns.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

if len(getattr(os, "sched_getaffinity", lambda _: ())(0)) > 2:  # before jax starts its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import Row, arguments, interleaved, milliseconds, print_rows, ratio, steps_of, timed

from genjax import energy, gradient_learner, nets
from genjax.compilation import jit

BATCH, NUM_STEPS, STEP_SIZE, TEMPERATURE, CHANNELS, UPDATES = 128, 60, 0.5, 1e-4, (32, 64), 3
WIDTHS = (256, 256)
NETS = {
    "convolutional": nets.ConvEncoder(CHANNELS, 1, activation=nn.silu),
    "dense": nets.MLP((*WIDTHS, 1), activation=nn.silu),
}


def model(name: str) -> energy.EnergyModel:
    """Return the model of a network by name."""
    return energy.EnergyModel(
        net=NETS[name],
        base=energy.Gaussian((28, 28, 1)),
        kernel=energy.Langevin(STEP_SIZE, TEMPERATURE),
        num_steps=NUM_STEPS,
        rules=(energy.ContrastiveDivergence(start="noise", num_steps=NUM_STEPS),),
    )


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    data = np.random.default_rng(0).random((UPDATES, BATCH, 28, 28, 1), np.float32)
    rival = importlib.util.find_spec("torch") is not None
    contestants = {}
    for name in NETS:
        contestants |= {f"{name} {what}": run for what, run in contestants_of(model(name), data).items()}
        if rival:
            contestants |= {f"torch, {name} {what}": run for what, run in torch_contestants(name, data).items()}
    seconds = interleaved(contestants, repeats=options.repeats)
    rows = []
    for name in [f"{net} {what}" for net in NETS for what in ("sampling", "training")] if rival else []:
        times = f"PyTorch, {milliseconds(seconds[f'torch, {name}'])}; {milliseconds(seconds[name])}"
        rows.append(Row(f"Langevin, {name}: PyTorch / genjax", ratio(seconds, f"torch, {name}", name), ">= 1.2", times))
    print_rows(*rows, as_json=options.json)


def contestants_of(model: energy.EnergyModel, data: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return genjax's chains and updates."""
    variables = jit(model.init)(jax.random.key(0), {"x": jnp.asarray(data[0])})
    sample = jit(lambda variables, key: model.sample(variables, key, BATCH))
    return {
        "sampling": timed(lambda: jax.block_until_ready(sample(variables, jax.random.key(1))), 1.0),
        "training": steps_of(gradient_learner(model, optax.adam(1e-4)), data),
    }


def torch_contestants(name: str, data: np.ndarray) -> dict[str, Callable[[], float]]:
    """Return PyTorch's loops over the same network, chains and updates."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)

    nn = torch.nn
    layers = {
        "convolutional": (
            nn.Conv2d(1, CHANNELS[0], 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(7 * 7 * CHANNELS[1], 1),
        ),
        "dense": (
            nn.Flatten(),
            nn.Linear(784, WIDTHS[0]),
            nn.SiLU(),
            nn.Linear(WIDTHS[0], WIDTHS[1]),
            nn.SiLU(),
            nn.Linear(WIDTHS[1], 1),
        ),
    }
    net = nn.Sequential(*layers[name])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    batches = [torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous() for batch in data]
    scale = (2 * STEP_SIZE * TEMPERATURE) ** 0.5

    def chains() -> torch.Tensor:
        x = torch.randn(BATCH, 1, 28, 28)
        for _ in range(NUM_STEPS):
            x = x.detach().requires_grad_(True)
            total = (net(x) + 0.5 * x.square().sum(dim=(1, 2, 3))).sum()  # the energy, and that of the base
            x = x - STEP_SIZE * torch.autograd.grad(total, x)[0] + scale * torch.randn_like(x)
        return x.detach()

    def train() -> None:
        for batch in batches:
            samples = chains()
            optimizer.zero_grad()
            (net(batch).mean() - net(samples).mean()).backward()
            optimizer.step()

    return {"sampling": timed(chains, 1.0), "training": timed(train, 1 / len(batches))}


if __name__ == "__main__":
    main()
