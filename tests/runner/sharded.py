"""Train a small model on meshes of eight virtual devices; prints losses and placements as JSON.

A program, not a test: the number of devices is fixed when JAX starts. Arguments: names of cases, number of steps, and
meshes such as data=2,fsdp=4; fewer devices are the first ones.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax import autoregressive, diffusion, nets, sharding
from genjax.capabilities import tensor_axis
from genjax.core import step_key
from genjax.learners import gradient_learner
from genjax.ops import leaves_by_path
from genjax.sharding import Placement, Rules, parse_mesh
from tests.contract.case import Case
from tests.contract.registry import CASES

sharding.MIN_SPLIT = 1
ADAM = optax.adam(1e-3, eps=1e-3)


def tokens(key: jax.Array) -> dict[str, jax.Array]:
    return {"x": jax.random.randint(key, (8, 8), 0, 16)}


def images(key: jax.Array) -> dict[str, jax.Array]:
    return {"x": jax.random.normal(key, (8, 8, 8, 1))}


def denoiser(net: Any) -> diffusion.Diffusion:
    return diffusion.Diffusion(net=net, shape=(8, 8, 1))


NETWORKS = (
    Case(
        "split_gpt",
        lambda: autoregressive.GPT(num_values=16, length=8, num_layers=2, num_heads=2, features=16),
        batch=tokens,
    ),
    Case(
        "split_dit",
        lambda: denoiser(nets.DiT(patch_size=4, features=16, num_layers=2, num_heads=2, output_scale=1.0)),
        batch=images,
    ),
    Case(
        "split_unet",
        lambda: denoiser(nets.UNet(features=16, multipliers=(1, 2), num_blocks=1, attention_at=(4,), output_scale=1.0)),
        batch=images,
    ),
)


def train(case: Case, mesh: dict[str, int], num_steps: int) -> dict[str, Any]:
    """Return losses by step, and specifications, shapes of one device's parts and types of the final state by path."""
    placement = Placement(mesh, jax.devices()[: math.prod(mesh.values())])
    model = case.model()
    learner = gradient_learner(model, ADAM, schedule=case.schedule, ema_decay=0.9)
    batch = case.batch(jax.random.key(1))
    batch = {name: jnp.concatenate([array] * 4)[:8] for name, array in batch.items()}
    turns = learner.minibatches

    def init(batch: Any) -> Any:
        return learner.init(jax.random.key(0), batch)

    def steps(state: Any, batch: Any) -> Any:
        batch = batch if turns == 1 else {name: jnp.stack([array] * turns) for name, array in batch.items()}

        def body(state: Any, _: None) -> Any:
            state = state.replace(params=placement.gather(state.params, placed.params))
            return learner.step(state, step_key(jax.random.key(2), state.step), batch)

        return jax.lax.scan(body, state, length=num_steps)

    placed = placement.place(jax.eval_shape(init, batch), Rules(tensor_axis=tensor_axis(model)))
    shardings = jax.tree.map(lambda leaf: leaf.sharding, placed)
    batch = placement.shard(batch, 0)
    state = jax.jit(init, out_shardings=shardings)(batch)
    state, metrics = jax.jit(steps, donate_argnums=0, out_shardings=(shardings, placement.replicated))(state, batch)
    return {
        "losses": {name: values.tolist() for name, values in metrics.items() if name.endswith("loss")},
        "specs": {path: str(tuple(leaf.sharding.spec)) for path, leaf in leaves_by_path(state).items()},
        "parts": {path: leaf.addressable_shards[0].data.shape for path, leaf in leaves_by_path(state).items()},
        "shapes": {path: leaf.shape for path, leaf in leaves_by_path(state).items()},
    }


if __name__ == "__main__":
    names, num_steps, *meshes = sys.argv[1:]
    cases = {case.name: case for case in (*NETWORKS, *CASES)}
    print(
        json.dumps(
            {
                name: {mesh: train(cases[name], parse_mesh(mesh), int(num_steps)) for mesh in meshes}
                for name in names.split(",")
            }
        )
    )
