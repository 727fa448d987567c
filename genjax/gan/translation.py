"""What Pix2Pix and CycleGAN share: the range of images, discriminators of patches, and checks of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genjax.capabilities import Condition, conditioning
from genjax.core import Array, Batch, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, output_shape
from genjax.ops import at_least_float32


def center(x: Array) -> Array:
    """Map images in [0, 1] to [-1, 1], the range of networks.

    >>> center(jnp.array([0.0, 0.75])).tolist()
    [-1.0, 0.5]
    """
    return 2 * x - 1


def uncenter(x: Array) -> Array:
    """Map images in [-1, 1] to [0, 1].

    >>> uncenter(jnp.array([-1.0, 0.5])).tolist()
    [0.0, 0.75]
    """
    return (x + 1) / 2


def source_condition(channels: int, *, paired: bool) -> tuple[Condition, ...]:
    """Return the condition of a model that translates images y with this number of channels."""
    return (Condition(name="y", kind="image", shape=(None, None, channels), paired=paired),)


def centered_pair(model: Any, batch: Batch) -> tuple[Array, Array]:
    """Return the images x and y of a batch in [-1, 1]; raise ValueError if they are missing, or are integers."""
    y = conditioning(model, batch)["y"]
    for name, array in (("x", batch["x"]), ("y", y)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{name} has dtype {array.dtype}, but {type(model).__name__} takes images in [0, 1]; use "
                "preprocess=data.chain(data.scale(), data.scale(entry='y'))"
            )
    return center(batch["x"]), center(y)


def check_source(model: Any, y: Array | None, num_samples: int) -> Array:
    """Return images y; raise ValueError if there is not one for each sample."""
    if y is None or y.shape[:1] != (num_samples,):
        raise ValueError(
            f"y {'is None' if y is None else f'has shape {y.shape}'}, but {type(model).__name__} translates one image "
            f"per sample, and num_samples is {num_samples}; pass as many images"
        )
    return y


def check_channels(model: Any, y: Array) -> None:
    """Raise if images y do not have the channels that the model declares."""
    if y.ndim < 2 or y.shape[-1] != model.source_channels:
        raise ValueError(
            f"y has shape {y.shape}, but {type(model).__name__} has source_channels={model.source_channels}; use "
            f"source_channels={y.shape[-1]}"
        )


def half_size(x: Array) -> int:
    """Return half of the number of examples, which a diagnosis compares with the other half; raise if it is zero."""
    half = x.shape[0] // 2
    if half == 0:
        raise ValueError("x has 1 example, but a diagnosis compares two; hold out at least 2 for validation")
    return half


def discriminator_spec(net: Net, key: Array, *inputs: Array) -> NetSpec:
    """Return the specification of a discriminator, which may return any number of outputs with a last axis of 1."""
    shape = output_shape(net, key, *inputs)
    return NetSpec(net, inputs, (inputs[0].shape[0], *shape[1:-1], 1), "the objective")


def discriminate(
    model: Any, name: str, variables: Variables, *inputs: Array, key: Array | None, train: bool = True
) -> tuple[Array, PyTree]:
    """Return the outputs of a discriminator for the patches of each example, (B, P), and its new state."""
    outputs, state = apply_part(model, name, variables, *inputs, key=key, train=train)
    return at_least_float32(outputs).reshape(inputs[0].shape[0], -1), state


def discriminate_both(
    model: Any, name: str, variables: Variables, key: Array, real: tuple[Array, ...], fake: tuple[Array, ...]
) -> tuple[Array, Array, PyTree]:
    """Return a discriminator's outputs for all patches of data and of samples, (B P,) each, and its new state.

    Data and samples go through it one after the other, so that its normalization never mixes them.
    """
    real_key, fake_key = jax.random.split(key)
    of_real, state = discriminate(model, name, variables, *real, key=real_key)
    variables = with_state(variables, {name: state})
    of_fake, state = discriminate(model, name, variables, *fake, key=fake_key)
    return of_real.reshape(-1), of_fake.reshape(-1), state


def with_state(variables: Variables, state: Mapping[str, PyTree]) -> Variables:
    """Return variables with new entries of ``state``."""
    return variables._replace(state={**variables.state, **state})
