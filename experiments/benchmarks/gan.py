"""Speed of an adversarial training step against eager PyTorch, and its cost against the same step by hand.

    python experiments/benchmarks/gan.py [--json]

Both networks are perceptrons with three layers of 256 units, with 16 latent dimensions, on batches of 256 of the 25
Gaussians, in the same process on two threads, in turns. A step updates each network once on one minibatch, with the
non-saturating loss and Adam. genjax runs its steps as one ``lax.scan`` in a compiled function; PyTorch runs step by
step, as its users write it, with the fused Adam.

The cost is the number of floating-point operations that XLA counts in the compiled step. The step by hand has a forward
pass of the generator, a forward and a backward pass of the discriminator over data and samples, and forward and
backward passes of both networks for the generator, without gradients of the discriminator's parameters.
"""

from __future__ import annotations

import importlib.util
import itertools
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

from genjax import gan, gradient_learner, nets
from genjax.data import synthetic

LATENT_DIM, WIDTHS, BATCH, STEPS, LEARNING_RATE = 16, (256, 256, 256), 256, 200, 1e-3

MODEL = gan.GAN(
    latent_dim=LATENT_DIM,
    generator=nets.MLP((*WIDTHS, 2), activation=jax.nn.relu),
    discriminator=nets.MLP((*WIDTHS, 1), activation=jax.nn.leaky_relu),
)
ADAM = optax.adam(LEARNING_RATE, b1=0.5)


def of_torch(data: np.ndarray) -> Callable[[], float]:
    """Return a contestant that reports seconds per step."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as fn  # pyright: ignore[reportMissingImports]

    def perceptron(activation: type, *widths: int) -> Any:
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[part for layer in layers[:-1] for part in (layer, activation())], layers[-1])

    generator = perceptron(nn.ReLU, LATENT_DIM, *WIDTHS, 2)
    discriminator = perceptron(nn.LeakyReLU, 2, *WIDTHS, 1)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.999), fused=True)
        for net in (discriminator, generator)
    ]
    batches = [torch.tensor(x) for x in data]

    def train() -> None:
        for x in batches:
            fake = generator(torch.randn(BATCH, LATENT_DIM)).detach()
            loss = fn.softplus(-discriminator(x)).mean() + fn.softplus(discriminator(fake)).mean()
            optimizers[0].zero_grad(set_to_none=True)
            loss.backward()
            optimizers[0].step()
            loss = fn.softplus(-discriminator(generator(torch.randn(BATCH, LATENT_DIM)))).mean()
            optimizers[1].zero_grad(set_to_none=True)
            loss.backward()
            optimizers[1].step()

    torch.set_num_threads(2)
    return timed(train, 1 / STEPS)


def by_hand(params: Any, opt_state: Any, key: jax.Array, x: jax.Array) -> Any:
    """Run a step without the library: one update of each network, with the gradient of its own parameters."""

    def generate(params: Any, key: jax.Array) -> jax.Array:
        return MODEL.generator.apply({"params": params}, jax.random.normal(key, (BATCH, LATENT_DIM)))

    def judge(params: Any, x: jax.Array) -> jax.Array:
        return MODEL.discriminator.apply({"params": params}, x)[:, 0]

    def update(name: str, loss: Callable[[Any], jax.Array]) -> None:
        gradients = jax.grad(loss)(params[name])
        updates, opt_state[name] = ADAM.update(gradients, opt_state[name])
        params[name] = optax.apply_updates(params[name], updates)

    params, opt_state = dict(params), dict(opt_state)
    first, second = jax.random.split(key)
    fake = generate(params["generator"], first)

    def discriminator_loss(own: Any) -> jax.Array:
        real, generated = jnp.split(judge(own, jnp.concatenate([x, fake])), 2)
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(generated))

    update("discriminator", discriminator_loss)
    update("generator", lambda own: jnp.mean(jax.nn.softplus(-judge(params["discriminator"], generate(own, second)))))
    return params, opt_state


def cost_ratio() -> float:
    """Return the floating-point operations of a learner's step relative to the step by hand."""
    learner = gradient_learner(MODEL, ADAM)
    key, x = jax.random.key(0), jnp.zeros((BATCH, 2))
    state = learner.init(key, {"x": x})
    opt_state = {name: ADAM.init(params) for name, params in state.params.items()}
    programs = (
        jax.jit(learner.step).lower(state, key, {"x": x}),
        jax.jit(by_hand).lower(state.params, opt_state, key, x),
    )
    ours, hand = (flops(program.compile()) for program in programs)
    return ours / hand


def flops(program: jax.stages.Compiled) -> float:
    """Return the number of floating-point operations that XLA counts."""
    cost = program.cost_analysis()
    assert cost is not None
    return cost["flops"]


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(__doc__ or "", repeats=7)
    data = np.asarray(synthetic.GaussianGrid().sample(jax.random.key(0), STEPS * BATCH)).reshape(STEPS, BATCH, 2)
    rows = [Row("operations of a step: genjax / by hand", cost_ratio(), "<= 1.02", "the same step, compiled")]
    if importlib.util.find_spec("torch") is not None:
        contestants = {"genjax": steps_of(gradient_learner(MODEL, ADAM), data), "torch": of_torch(data)}
        seconds = interleaved(contestants, repeats=options.repeats)
        times = f"torch, {milliseconds(seconds['torch'])}; {milliseconds(seconds['genjax'])}"
        rows.append(Row("a training step: torch / genjax", ratio(seconds, "torch", "genjax"), ">= 1.4", times))
    print_rows(*rows, as_json=options.json)


if __name__ == "__main__":
    main()
