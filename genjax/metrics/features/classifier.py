"""A small convolutional classifier, trained here on a labelled data set, whose last hidden layer is the features.

The honest choice for digits, MNIST or Fashion-MNIST, on which Inception's features say little. Its weights are kept in
the user's cache folder under a name that fixes data and recipe, and results carry the hash of the weights: numbers of
equal hashes compare, any others do not. A distance on them is an "FD-classifier-…", never an FID.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, PyTree, stream_key
from genjax.data import ArraySource, Dataset, materialize, order
from genjax.data.cache import cached_arrays
from genjax.metrics.features.network import FeatureNetwork, Outputs, arrays_hash

STEPS_AT_ONCE = 50  # in one dispatch, between two turns of the progress bar


class ClassifierNet(nn.Module):
    """Three strided convolutions, a layer of features, and logits.

    Attributes:
      widths: channels of the convolutions.
      num_features: width of the feature layer.
      num_classes: logits.
    """

    widths: tuple[int, ...]
    num_features: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Outputs:
        """Map images in [0, 1], (B, H, W, C), to features after their nonlinearity and logits."""
        x = 2 * x - 1
        for width in self.widths:
            x = nn.gelu(nn.Conv(width, (3, 3), strides=2)(x))
        features = nn.gelu(nn.Dense(self.num_features)(x.reshape(x.shape[0], -1)))
        return Outputs(features, nn.Dense(self.num_classes)(features))


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained: Adam with a cosine schedule, on the training split.

    Attributes:
      seed: of weights and order.
      steps: minibatches.
      batch_size: examples in one; fewer where the split is smaller.
      learning_rate: at the start.
      widths: see ``ClassifierNet``.
      num_features: see ``ClassifierNet``.
    """

    seed: int
    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 2e-3
    widths: tuple[int, ...] = (16, 32, 64)
    num_features: int = 64

    def __post_init__(self) -> None:
        """Refuse a recipe that trains nothing."""
        for name in ("steps", "batch_size", "num_features"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")


def classifier(dataset: Dataset, recipe: Recipe) -> FeatureNetwork:
    """Return the classifier of a data set, trained now unless it is in the cache.

    Args:
      dataset: images with ``levels`` and labels. Accuracy is measured on its test split.
      recipe: how to train.

    Raises:
      ValueError: for a data set without labels, or whose examples are not images of integers.
    """
    spec = dataset.spec()
    if dataset.num_classes is None or "label" not in spec:
        raise ValueError(f"{dataset.name!r} has no labels, so no classifier learns from it; use features=pixels")
    if len(spec["x"].shape) != 3 or dataset.levels is None:
        raise ValueError(f"x of {dataset.name!r} is {spec['x']}, but a classifier takes images (H, W, C) of integers")
    net = ClassifierNet(recipe.widths, recipe.num_features, dataset.num_classes)
    shape = spec["x"].shape
    train = materialize(dataset.splits["train"])
    content = arrays_hash({name: train.arrays[name] for name in ("x", "label")})
    told = f"{asdict(recipe)} {dataset.levels} {dataset.num_classes} {content}"
    name = f"classifier-{dataset.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    template = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, *shape)))
    kept = cached_arrays(name, lambda: _trained(net, dataset, train, recipe))
    variables = jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(kept[jax.tree_util.keystr(path)]), template
    )

    def apply(variables: PyTree, images: Array) -> Outputs:
        if images.shape[1:] != shape:
            raise ValueError(f"images have shape {images.shape[1:]}, but classifier-{dataset.name} takes {shape}")
        return net.apply(variables, images)  # type: ignore[return-value]

    return FeatureNetwork(
        name=f"classifier-{dataset.name}",
        hash=arrays_hash(variables),
        variables=variables,
        apply=apply,
        accuracy=float(kept["accuracy"]),
    )


def _trained(net: ClassifierNet, dataset: Dataset, train: ArraySource, recipe: Recipe) -> dict[str, np.ndarray]:
    """Train, and return the weights by name, with the accuracy on the test split (the training split without one)."""
    import optax
    from tqdm import tqdm

    root = jax.random.key(recipe.seed)
    x, label = (jnp.asarray(train.arrays[name]) for name in ("x", "label"))
    scale = 1 / (dataset.levels - 1)  # type: ignore[operator]
    optimizer = optax.adam(optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps))

    def loss(variables: PyTree, rows: Array) -> Array:
        logits = net.apply(variables, x[rows] * scale).logits  # type: ignore[union-attr]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label[rows]).mean()

    def step(carry: tuple[PyTree, PyTree], rows: Array) -> tuple[tuple[PyTree, PyTree], None]:
        variables, state = carry
        updates, state = optimizer.update(jax.grad(loss)(variables, rows), state)
        return (optax.apply_updates(variables, updates), state), None

    variables = net.init(stream_key(root, "init"), x[:1] * scale)
    carry = (variables, optimizer.init(variables))
    several = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0], donate_argnums=0)
    batch_size = min(recipe.batch_size, len(train))
    positions = np.arange(recipe.steps * batch_size).reshape(recipe.steps, batch_size)
    with tqdm(total=recipe.steps, desc=f"training classifier-{dataset.name}", unit="step") as bar:
        for start in range(0, recipe.steps, STEPS_AT_ONCE):
            rows = order(stream_key(root, "data"), positions[start : start + STEPS_AT_ONCE], len(train))
            carry = jax.block_until_ready(several(carry, rows))
            bar.update(len(rows))
    held_out = materialize(dataset.splits.get("test", train))
    leaves = jax.tree_util.tree_leaves_with_path(carry[0])
    weights = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return weights | {"accuracy": np.asarray(_accuracy(net, carry[0], held_out, scale))}


def _accuracy(net: ClassifierNet, variables: PyTree, source: ArraySource, scale: float) -> float:
    predict = jax.jit(lambda variables, x: jnp.argmax(net.apply(variables, x * scale).logits, axis=-1))  # type: ignore[union-attr]
    x, label = source.arrays["x"], source.arrays["label"]
    right = [np.asarray(predict(variables, x[i : i + 500])) == label[i : i + 500] for i in range(0, len(x), 500)]
    return float(np.concatenate(right).mean())
