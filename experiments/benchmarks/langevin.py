"""Speed of Langevin chains of images, and of a training step that runs them, against eager PyTorch.

    python experiments/benchmarks/langevin.py [--json]

A convolutional energy of 28 x 28 images: two strided 3 x 3 convolutions of 32 and 64 channels with SiLU, and a dense
layer. Sampling: 60 steps of 128 chains. Training: contrastive divergence from noise with these steps, and one of Adam,
batches of 128. genjax compiles all steps, and the whole training step, into one program; PyTorch runs its usual loop of
``torch.autograd.grad``, with the same arithmetic, on as many threads. Contestants run in turns.
"""

from __future__ import annotations

import importlib.util
import os

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
KERNEL = energy.Langevin(STEP_SIZE, TEMPERATURE)
MODEL = energy.EnergyModel(
    net=nets.ConvEncoder(CHANNELS, 1, activation=nn.silu),
    base=energy.Gaussian((28, 28, 1)),
    kernel=KERNEL,
    num_steps=NUM_STEPS,
    rules=(energy.ContrastiveDivergence(start="noise", num_steps=NUM_STEPS),),
)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=5)
    data = np.random.default_rng(0).random((UPDATES, BATCH, 28, 28, 1), np.float32)
    variables = jit(MODEL.init)(jax.random.key(0), {"x": jnp.asarray(data[0])})
    sample = jit(lambda variables, key: MODEL.sample(variables, key, BATCH))
    contestants = {
        "sampling": timed(lambda: jax.block_until_ready(sample(variables, jax.random.key(1))), 1.0),
        "training": steps_of(gradient_learner(MODEL, optax.adam(1e-4)), data),
    }
    rival = importlib.util.find_spec("torch") is not None
    if rival:
        contestants |= torch_contestants(data)
    seconds = interleaved(contestants, repeats=options.repeats)
    rows = []
    for name, target in (("sampling", ">= 1.2"), ("training", ">= 1.2")):
        if rival:
            times = f"PyTorch, {milliseconds(seconds[f'torch {name}'])}; {milliseconds(seconds[name])}"
            rows.append(
                Row(f"Langevin {name}: genjax / eager PyTorch", ratio(seconds, f"torch {name}", name), target, times)
            )
    print_rows(*rows, as_json=options.json)


def torch_contestants(data: np.ndarray) -> dict[str, object]:
    """Return PyTorch's loops over the same network, chains and updates."""
    import torch

    torch.set_num_threads(2)

    class Energy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(1, CHANNELS[0], 3, stride=2, padding=1)
            self.second = torch.nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, stride=2, padding=1)
            self.last = torch.nn.Linear(7 * 7 * CHANNELS[1], 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            silu = torch.nn.functional.silu
            return self.last(silu(self.second(silu(self.first(x)))).flatten(1))[:, 0]

    net = Energy()
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

    return {"torch sampling": timed(chains, 1.0), "torch training": timed(train, 1 / len(batches))}


if __name__ == "__main__":
    main()
