"""A small convolutional classifier, trained on a labelled data set, whose last hidden layer gives the features.

Use it for digits, MNIST or Fashion-MNIST, where Inception features carry little information. Weights are cached in the
user's cache folder under a name that identifies data and recipe, and results carry the hash of the weights. Compare
results of equal hashes only; other hardware may round to other weights. A distance on these features is an
"FD-classifier-…", never an FID.

The published recipe, ``Recipe(seed=0)``, has a test accuracy of 99.1 % on MNIST, 91.5 % on Fashion-MNIST and 98.6 % on
digits.

Waveforms of real numbers are classified by their spectrograms (``log_mel``), so that loudness does not matter: 98.3 %
of the test clips of spoken digits, 3,072 samples at 8 kHz.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.compilation import jit
from genjax.core import Array, Batch, PyTree, stream_key
from genjax.data import ArraySource, Dataset, Waveform, materialize, shuffle_indices
from genjax.data.cache import Arrays, cache_arrays
from genjax.data.progress import progress_bar
from genjax.data.source import RESIDENT_BYTES, num_bytes
from genjax.metrics.features.network import FeatureNetwork, Outputs, arrays_hash, as_numbers
from genjax.metrics.features.spectrogram import log_mel
from genjax.metrics.progress import chunks
from genjax.ops.keys import seed_key

STEPS_PER_DISPATCH = 50  # between two updates of the progress bar
NUM_STANDARDIZATION_EXAMPLES = 10_000  # first examples, whose mean and deviation standardize all
VERSION = 1  # of the training below; raise it with every change, to invalidate cached weights


class ClassifierNet(nn.Module):
    """Strided 3 × 3 convolutions with ``widths`` channels, a feature layer and a linear layer for the logits."""

    widths: tuple[int, ...]
    num_features: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Outputs:
        """Map standardized images, shape (B, H, W, C), to features, after the nonlinearity, and logits."""
        for width in self.widths:
            x = nn.gelu(nn.Dense(width)(neighbourhoods(x)))
        features = nn.gelu(nn.Dense(self.num_features)(x.reshape(x.shape[0], -1)))
        return Outputs(features, nn.Dense(self.num_classes)(features))


def neighbourhoods(x: Array) -> Array:
    """Return the zero-padded 3 × 3 neighbourhood of every second pixel, shape (B, ⌈H/2⌉, ⌈W/2⌉, 9 C).

    A dense layer on it is a strided convolution, with a gradient ten times faster on a CPU.
    """
    height, width = (-(-side // 2) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = 2 * height - 1, 2 * width - 1
    shifted = [x[:, i : i + rows : 2, j : j + columns : 2] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training recipe of a classifier: Adam with warm-up and a cosine schedule, on the training split.

    Attributes:
      seed: random seed of initial weights and of the order of the data.
      steps: number of training steps, at least 1.
      batch_size: number of examples in a minibatch, at least 1; at most the size of the split.
      learning_rate: peak learning rate, above 0, reached after the first tenth of the steps.
      widths: numbers of channels, at least 1 each, see ``ClassifierNet``.
      num_features: width of the feature layer, at least 1.
    """

    seed: int
    steps: PositiveInt = 1500
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 4e-3
    widths: tuple[PositiveInt, ...] = (32, 64, 64)
    num_features: PositiveInt = 64


@final
@dataclass(frozen=True)
class _Apply:
    """Hashable ``apply`` of a classifier, so that classifiers of one kind share compiled programs."""

    name: str
    net: ClassifierNet
    shape: tuple[int, ...]
    sample_rate: int | None = None  # of waveforms; None for images

    def __call__(self, variables: PyTree, x: Array) -> Outputs:
        if x.shape[1:] != self.shape:
            kind = "images" if self.sample_rate is None else "waveforms"
            raise ValueError(f"{kind} have shape {x.shape[1:]}, but {self.name} takes {self.shape}")
        images = self.images(x)
        mean, deviation = (variables[name][None, None, None] for name in ("mean", "deviation"))
        return self.net.apply({"params": variables["params"]}, (images - mean) / deviation)  # type: ignore[return-value]

    def images(self, x: Array) -> Array:
        """Return images (B, H, W, C): x, or the spectrograms of waveforms."""
        return x if self.sample_rate is None else log_mel(x, self.sample_rate)


@check_arguments
def classifier(dataset: Dataset, recipe: Recipe) -> FeatureNetwork:
    """Return the classifier of a data set with labels, trained now unless it is cached.

    Examples are images of integers with ``levels``, or waveforms of real numbers.

    Accuracy is measured on the test split or, without one, on the validation split.

    Raises:
      ValueError: if the data set has no labels or fewer than two classes, its examples are neither integer images nor
        real waveforms, or it exceeds the memory limit.
    """
    levels, num_classes, sample_rate = _checked(dataset)
    train = materialize(dataset.splits["train"])
    measured = dataset.splits.get("test", dataset.splits.get("validation"))
    held_out = None if measured is None else materialize(measured)
    net = ClassifierNet(recipe.widths, recipe.num_features, num_classes)
    apply = _Apply(f"classifier-{dataset.name}", net, dataset.spec()["x"].shape, sample_rate)
    content = arrays_hash([train.arrays, {} if held_out is None else held_out.arrays])
    digest = hashlib.sha256(f"{VERSION} {recipe} {levels} {num_classes} {content}".encode()).hexdigest()[:16]

    def make() -> Arrays:
        variables = _trained(apply, train, levels, recipe)
        accuracy = np.nan if held_out is None else _accuracy(apply, variables, held_out, levels)
        leaves = jax.tree_util.tree_leaves_with_path(variables)
        arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        return arrays | {"accuracy": np.asarray(accuracy)}

    def use(arrays: Arrays) -> FeatureNetwork:
        variables = _restored(apply, arrays)
        return FeatureNetwork(
            name=apply.name,
            hash=arrays_hash(variables),
            variables=variables,
            apply=apply,
            requires_images=sample_rate is None,
            levels=levels,
            accuracy=None if np.isnan(arrays["accuracy"]) else float(arrays["accuracy"]),
        )

    return cache_arrays(f"{apply.name}-seed{recipe.seed}-{digest}", make, use)


def _checked(dataset: Dataset) -> tuple[int | None, int, int | None]:
    """Return the number of levels, of classes, and of samples per second if examples are waveforms."""
    spec = dataset.spec()
    if dataset.num_classes is None or "label" not in spec:
        raise ValueError(f"{dataset.name!r} has no labels, but a classifier needs them; use features=pixels")
    if dataset.num_classes < 2:
        raise ValueError(
            f"{dataset.name!r} has num_classes={dataset.num_classes}, but a classifier needs at least 2; "
            "use features=pixels"
        )
    sound = dataset.sound if isinstance(dataset.sound, Waveform) and dataset.levels is None else None
    if sound is None and (len(spec["x"].shape) != 3 or dataset.levels is None):
        raise ValueError(
            f"x of {dataset.name!r} is {spec['x']}, but a classifier takes images (H, W, C) of integers, or waveforms "
            'with encoding="float"'
        )
    size = sum(num_bytes(source) for source in dataset.splits.values())
    if size > RESIDENT_BYTES:
        raise ValueError(
            f"{dataset.name!r} takes {size / 2**30:.1f} GiB, but a classifier is trained on at most "
            f"{RESIDENT_BYTES / 2**30:.0f} GiB; load it with smaller images"
        )
    return dataset.levels, dataset.num_classes, None if sound is None else sound.sample_rate


def _restored(apply: _Apply, arrays: Arrays) -> PyTree:
    """Return cached weights as a tree; raise KeyError or ValueError if they belong to another network."""
    example = jax.eval_shape(apply.images, jax.ShapeDtypeStruct((1, *apply.shape), jnp.float32))
    channels = jax.ShapeDtypeStruct(example.shape[-1:], jnp.float32)
    params = jax.eval_shape(apply.net.init, jax.random.key(0), example)["params"]

    def find(path: tuple, leaf: jax.ShapeDtypeStruct) -> Array:
        array = arrays[jax.tree_util.keystr(path)]
        if array.shape != leaf.shape:
            raise ValueError(f"weights at {path} have shape {array.shape}, not {leaf.shape}")
        return jnp.asarray(array, leaf.dtype)

    template = {"params": params, "mean": channels, "deviation": channels}
    return jax.tree_util.tree_map_with_path(find, template)


def _initial(apply: _Apply, train: ArraySource, levels: int | None, key: Array) -> PyTree:
    x = train.arrays["x"][:NUM_STANDARDIZATION_EXAMPLES]
    x = np.asarray(apply.images(jnp.asarray(x))) if levels is None else x / (levels - 1)
    deviation = x.std(axis=(0, 1, 2))
    return {
        "params": apply.net.init(key, jnp.zeros((1, *x.shape[1:])))["params"],
        "mean": jnp.asarray(x.mean(axis=(0, 1, 2)), jnp.float32),
        "deviation": jnp.asarray(np.where(deviation > 0, deviation, 1), jnp.float32),
    }


def _optimizer(recipe: Recipe) -> Any:
    import optax

    warm_up = recipe.steps // 10
    return optax.adam(optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, warm_up, recipe.steps))


@functools.partial(jit, static_argnums=(0, 1, 2))
def _steps(
    apply: _Apply, levels: int | None, recipe: Recipe, variables: PyTree, state: PyTree, batch: Batch, rows: Array
) -> tuple[PyTree, PyTree]:
    """Take one training step for each row of indices, shape (steps, batch)."""
    import optax

    def loss(params: PyTree, x: Array, label: Array) -> Array:
        logits = apply(variables | {"params": params}, as_numbers(x, levels)).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()  # type: ignore[arg-type]

    def step(carry: tuple[PyTree, PyTree], rows: Array) -> tuple[tuple[PyTree, PyTree], None]:
        params, state = carry
        gradient = jax.grad(loss)(params, batch["x"][rows], batch["label"][rows])
        updates, state = _optimizer(recipe).update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    params, state = jax.lax.scan(step, (variables["params"], state), rows)[0]
    return variables | {"params": params}, state


def _trained(apply: _Apply, train: ArraySource, levels: int | None, recipe: Recipe) -> PyTree:
    root = seed_key(recipe.seed)
    variables = _initial(apply, train, levels, stream_key(root, "init"))
    state = _optimizer(recipe).init(variables["params"])
    batch = {name: jnp.asarray(train.arrays[name]) for name in ("x", "label")}
    batch_size = min(recipe.batch_size, len(train))
    positions = np.arange(recipe.steps * batch_size).reshape(recipe.steps, batch_size)
    with progress_bar(f"training {apply.name}", recipe.steps, "step", leave=False) as bar:
        for part in chunks(recipe.steps, STEPS_PER_DISPATCH, bar.update):
            rows = shuffle_indices(stream_key(root, "data"), positions[part], len(train))
            outputs = _steps(apply, levels, recipe, variables, state, batch, jnp.asarray(rows))
            variables, state = jax.block_until_ready(outputs)
    return variables


@functools.partial(jit, static_argnums=(0, 1))
def _predicted(apply: _Apply, levels: int | None, variables: PyTree, x: Array) -> Array:
    return jnp.argmax(apply(variables, as_numbers(x, levels)).logits, axis=-1)  # type: ignore[arg-type]


def _accuracy(apply: _Apply, variables: PyTree, source: ArraySource, levels: int | None) -> float:
    x, label = source.arrays["x"], source.arrays["label"]
    correct = [np.asarray(_predicted(apply, levels, variables, x[part])) == label[part] for part in chunks(len(x), 500)]
    return float(np.concatenate(correct).mean())
