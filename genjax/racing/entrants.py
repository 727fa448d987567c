"""Dense models of six families for vectors and small images, with hidden layers of one width.

``genjax choose --data DATA --race 10m`` trains them on your data and copies this file beside the runs, so that you can
change networks, learning rate or number of steps. Whole numbers of images are dequantized to [-1, 1]. Other numbers are
standardized by the mean and standard deviation of each dimension, integers after adding uniform noise in [0, 1).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax import Experiment, autoregressive, data, diffusion, flow, gan, moment_matching, nets, ops, vae
from genjax.arguments import PositiveFloat, PositiveInt
from genjax.comparison.settings import default_features
from genjax.core import Array, Batch, GenerativeModel
from genjax.data.splitting import split_evenly, split_source

Method = Literal["vae", "gan", "real_nvp", "maf", "edm", "flow_matching", "gmmn", "made"]
HELD_OUT = 0.1  # fraction of the training examples that each missing split takes
MIN_HELD_OUT = 10  # examples of a held-out split
MAX_OUTPUTS = 20_000  # largest number of logits of MADE, one for each value of each element
MAX_ELEMENTS = 4_096  # largest number of elements of an example


@dataclass(frozen=True, kw_only=True)
class View:
    """The data as models see them.

    Attributes:
      shape: shape of an example.
      preprocess: transform of a batch.
      display: function from samples to images in [0, 1], or to the data's own numbers.
      scale: standard deviation of all numbers that models see.
      bounded: whether the numbers that models see lie in [-1, 1].
      levels: number of values of an example's elements; None for other data than images of whole numbers.
    """

    shape: tuple[int, ...]
    preprocess: Callable[..., Batch]
    display: Callable[[Any], Any]
    scale: float
    bounded: bool
    levels: int | None


def split(dataset: data.Dataset) -> data.Dataset:
    """Return the data with validation and test splits; a missing one takes a tenth of the training data."""
    missing = {name: 0.0 if name in dataset.splits else HELD_OUT for name in ("validation", "test")}
    train = dataset.splits["train"]
    parts = split_source(train, split_evenly(len(train), missing["validation"], missing["test"]))
    return dataclasses.replace(dataset, splits={**dataset.splits, **parts})


def view(dataset: data.Dataset) -> View:
    """Return how models see a data set.

    Raises:
      ValueError: if it holds texts, has too few examples, or examples that are no vectors or images, that are too large
        for dense networks, or all equal.
    """
    if dataset.tokenizer is not None:
        raise ValueError(f"{dataset.name} holds texts, but the models of a race need vectors or images")
    for name in ("validation", "test"):
        count = len(dataset.splits[name]) if name in dataset.splits else 0
        if count < MIN_HELD_OUT:
            raise ValueError(f"split {name!r} of {dataset.name} has {count} examples, but a race needs {MIN_HELD_OUT}")
    if not dataset.spec()["x"].shape:
        raise ValueError(f"examples of {dataset.name} are single numbers; give them a dimension, x[:, None]")
    shape = dataset.spec()["x"].shape
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"examples of {dataset.name} have {math.prod(shape)} elements, but dense networks take at most "
            f"{MAX_ELEMENTS}; use smaller images"
        )
    train = dataset.splits["train"]
    x = np.asarray(train.take(np.linspace(0, len(train) - 1, min(len(train), 10_000), dtype=np.int64))["x"], np.float64)
    if x.min() == x.max():
        raise ValueError(f"all numbers of {dataset.name} are {x.min():g}; check the file")
    if dataset.levels is not None:
        to_unit = {"levels": dataset.levels, "low": -1.0}
        return View(
            shape=shape,
            preprocess=data.dequantize(**to_unit),
            display=functools.partial(data.quantize, **to_unit),
            scale=2 * float(x.std()) / dataset.levels,
            bounded=True,
            levels=dataset.levels,
        )
    is_whole = np.issubdtype(dataset.spec()["x"].dtype, np.integer)
    mean, deviation = x.mean(axis=0, keepdims=True) + 0.5 * is_whole, x.std(axis=0, keepdims=True)
    mean, deviation = (jnp.asarray(each, jnp.float32) for each in (mean, np.where(deviation > 0, deviation, 1.0)))

    def standardize(key: Array, batch: Batch) -> Batch:
        noise = jax.random.uniform(key, batch["x"].shape) if is_whole else 0.0
        return {**batch, "x": (batch["x"] + noise - mean) / deviation}

    def to_data(x: Any) -> Any:
        numbers = x * deviation + mean
        return jnp.floor(numbers) if is_whole else numbers

    return View(shape=shape, preprocess=standardize, display=to_data, scale=1.0, bounded=False, levels=None)


def entrants(dataset: data.Dataset) -> tuple[str, ...]:
    """Return the methods that can model a data set; see ``view`` for errors.

    MADE models whole numbers, and the others what they are dequantized to: only a classifier sees both as images.
    """
    data_view = view(dataset)
    impossible = set()
    is_labelled = default_features(dataset) == "classifier"
    if data_view.levels is None or not is_labelled or data_view.levels * math.prod(data_view.shape) > MAX_OUTPUTS:
        impossible.add("made")
    if math.prod(data_view.shape) < 2:
        impossible.add("real_nvp")
    return tuple(method for method in get_args(Method) if method not in impossible)


def model_of(method: str, data_view: View, width: int) -> GenerativeModel:
    """Return a model whose networks have two hidden layers; MADE has one."""
    shape, size, hidden = data_view.shape, math.prod(data_view.shape), (width, width)
    latent_dim = max(2, min(64, size // 2))
    squash = jnp.tanh if data_view.bounded else None
    match method:
        case "vae":
            return vae.VAE(
                latent_dim=latent_dim,
                encoder=nets.MLP((*hidden, 2 * latent_dim)),
                decoder=nets.MLP(hidden, output_shape=(*shape[:-1], 2 * shape[-1])),
                likelihood=ops.Gaussian(),
            )
        case "gan":
            return gan.GAN(
                latent_dim=latent_dim,
                generator=gan.MLPGenerator(hidden, output_shape=shape, output_activation=squash),
                discriminator=gan.MLPDiscriminator(hidden),
                penalties=(gan.R1(weight=0.1),),
            )
        case "real_nvp":
            return flow.real_nvp(shape=shape, num_layers=8, hidden=hidden)
        case "maf":
            return flow.masked_autoregressive_flow(shape=shape, num_layers=5, hidden=hidden)
        case "edm":
            return diffusion.Diffusion(
                shape=shape,
                net=nets.DenoisingMLP(hidden),
                num_steps=50,
                process=diffusion.processes.EDM(start=0.004 * data_view.scale, end=80.0 * data_view.scale),
                parametrization=diffusion.parametrizations.Preconditioned(data_scale=data_view.scale),
                times=diffusion.times.LogNormal(mean=math.log(data_view.scale) - 0.5),
            )
        case "flow_matching":
            return diffusion.Diffusion(
                shape=shape,
                net=nets.DenoisingMLP(hidden),
                num_steps=50,
                process=diffusion.processes.LinearPath(),
                parametrization=diffusion.parametrizations.Flow(data_scale=data_view.scale),
            )
        case "gmmn":
            distance = data_view.scale * math.sqrt(2 * size)  # approximate distance between two examples
            return moment_matching.GMMN(
                latent_dim=latent_dim,
                generator=nets.MLP(hidden, output_shape=shape),
                bandwidths=(distance / 8, distance / 4, distance / 2, distance),
            )
    assert data_view.levels is not None
    return autoregressive.MADE(shape=shape, num_values=data_view.levels, features=(width,))


def experiment(
    method: Method = "vae",
    dataset: str = "digits",
    width: PositiveInt = 256,
    learning_rate: PositiveFloat = 5e-4,
    steps: PositiveInt = 2_000,
    batch_size: PositiveInt = 128,
) -> Experiment:
    """Describe the run.

    Args:
      method: name of the model.
      dataset: name of a data set, or path of a file or folder, see ``genjax.data.load``.
      width: width of the hidden layers.
      learning_rate: learning rate of Adam, constant so that training can be extended.
      steps: number of training steps.
      batch_size: number of examples in a minibatch.
    """
    source = split(data.load(dataset))
    data_view = view(source)
    if method not in entrants(source):
        raise ValueError(f"method is {method!r}, but {source.name} supports {', '.join(entrants(source))}")
    is_game, whole, top = method == "gan", method == "made", (data_view.levels or 2) - 1
    adam = optax.adam(learning_rate, b1=0.5 if is_game else 0.9)
    last = -(-steps // 100) * 100
    return Experiment(
        model=model_of(method, data_view, width),
        data=source,
        preprocess=data.unchanged if whole else data_view.preprocess,
        display=(lambda x: x / top) if whole else data_view.display,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), adam),
        schedule=("discriminator", "generator") if is_game else None,
        ema_decay=0.995,
        steps=steps,
        batch_size=min(batch_size, 2 ** int(math.log2(len(source.splits["train"])))),  # devices can share it
        evaluate_every=last,
        sample_every=last,
        checkpoint_every=last,
    )
