"""Facades drawn from maps: Pix2Pix, its generator trained by the L1 distance alone, and two baselines without learning.

    python experiments/benchmarks/translation.py [--pix2pix RUN] [--l1 RUN] [--split SPLIT] [--picture FILE] [--json]

RUN are folders of ``experiments/pix2pix_facades.py``, with and without ``--no-adversarial``; several seeds give mean ±
sd. The baselines are the mean colour of each class in the training photos, and the photo of the training map that
agrees in most pixels. A map painted in the median colours of its own photo says how little of the L1 distance is left
to know once the colours are known. Measured on a split, in the order of the columns:

* the L1 distance to the photo, pixels in [0, 1];
* the Fréchet and the kernel distance between patches of the outputs and of the photos: features of an 8 x 8 grid of
  each image from the narrowest layer of a segmenter;
* how well the segmenter recovers the map from an output: accuracy of pixels, mean accuracy of classes, and mean
  intersection over union, the "FCN score" of Isola et al. 2017, arXiv:1611.07004.

The segmenter is a small U-Net trained on the real pairs of the training split; its scores on photos bound those of
outputs.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import arguments

sys.path.insert(0, str(Path(__file__).parents[1]))

import pix2pix_facades

from genjax import gan, metrics
from genjax.figures.images import row_picture, save_picture
from genjax.runner import load_run

STEPS, BATCH_SIZE, LEARNING_RATE, NUM_PICTURES = 1_500, 16, 2e-3, 12
COLUMNS = ("l1", "frechet", "kernel", "pixel_accuracy", "class_accuracy", "mean_iou")


class Split(NamedTuple):
    """Photos (N, 64, 64, 3) and colours of the maps in [0, 1], and classes (N, 64, 64)."""

    photo: np.ndarray
    map: np.ndarray
    label: np.ndarray


def read(path: Path) -> tuple[dict[str, Split], int]:
    """Return the splits, and the number of classes."""
    dataset = pix2pix_facades.facades(path)
    arrays = {name: source.take(np.arange(len(source))) for name, source in dataset.splits.items()}
    colours = np.unique(np.concatenate([a["y"].reshape(-1, 3) for a in arrays.values()]), axis=0)
    splits = {}
    for name, a in arrays.items():
        label = (a["y"][..., None, :] == colours).all(axis=-1).argmax(axis=-1)
        splits[name] = Split(a["x"].astype(np.float32) / 255, a["y"].astype(np.float32) / 255, label)
    return splits, len(colours)


class Segmenter:
    """A U-Net from photos to class logits, trained on real pairs with cross-entropy."""

    def __init__(self, train: Split, num_classes: int) -> None:
        self.num_classes = num_classes
        self.net = gan.UNetGenerator((16, 32, 64), num_classes, dropout=0.0, output_activation=None)
        schedule = optax.cosine_decay_schedule(LEARNING_RATE, STEPS)
        optimizer = optax.adamw(schedule, weight_decay=1e-2)
        labels = np.eye(num_classes, dtype=np.float32)[train.label]
        photos = jnp.asarray(train.photo)

        def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
            logits: Any = self.net.apply({"params": params}, x)
            return jnp.mean(optax.softmax_cross_entropy(logits, y))

        def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            params, opt_state = carry
            rows_key, jitter_key = jax.random.split(key)
            rows = jax.random.randint(rows_key, (BATCH_SIZE,), 0, len(photos))
            batch = pix2pix_facades.jitter(jitter_key, {"x": photos[rows], "y": jnp.asarray(labels)[rows]})
            value, gradients = jax.value_and_grad(loss)(params, batch["x"], batch["y"])
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        params = self.net.init(jax.random.key(0), photos[:1])["params"]
        keys = jax.random.split(jax.random.key(1), STEPS)
        (self.params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((params, optimizer.init(params)))
        self._apply = jax.jit(functools.partial(self.net.apply, capture_intermediates=lambda m, _: m.name == "Conv_2"))

    def __call__(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return classes (N, 64, 64), and features of patches (64 N, 64)."""
        labels, features = [], []
        for start in range(0, len(photos), BATCH_SIZE):
            logits, state = self._apply({"params": self.params}, jnp.asarray(photos[start : start + BATCH_SIZE]))
            labels.append(np.argmax(logits, axis=-1))
            features.append(np.asarray(state["intermediates"]["Conv_2"]["__call__"][0]).reshape(-1, 64))
        return np.concatenate(labels), np.concatenate(features)


def fcn_scores(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Return the accuracy of pixels, the mean accuracy of classes, and their mean intersection over union."""
    confusion = np.bincount((num_classes * label + predicted).ravel(), minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes).astype(np.float64)
    right, true, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = true > 0
    return {
        "pixel_accuracy": right.sum() / confusion.sum(),
        "class_accuracy": np.mean(right[present] / true[present]),
        "mean_iou": np.mean(right[present] / (true + called - right)[present]),
    }


def mean_colours(train: Split, split: Split, num_classes: int) -> np.ndarray:
    """Return the maps, painted in the mean colour of each class in the training photos."""
    colours = np.stack([train.photo[train.label == label].mean(axis=0) for label in range(num_classes)])
    return colours[split.label]


def own_colours(split: Split) -> np.ndarray:
    """Return the maps, painted in the median colour of each class in the very photo."""
    painted = np.zeros_like(split.photo)
    for image, photo, label in zip(painted, split.photo, split.label, strict=True):
        for one in set(label.ravel().tolist()):
            image[label == one] = np.median(photo[label == one], axis=0)
    return painted


def nearest_photos(train: Split, split: Split) -> np.ndarray:
    """Return the photo of the training map, or its mirror image, that agrees with each map in most pixels."""
    labels = np.concatenate([train.label, train.label[:, :, ::-1]])
    photos = np.concatenate([train.photo, train.photo[:, :, ::-1]])
    return np.stack([photos[np.mean(labels == label, axis=(1, 2)).argmax()] for label in split.label])


def of_run(folder: str, split: Split) -> list[np.ndarray]:
    """Return the translations of each seed."""
    run = load_run(folder)
    maps, key = jnp.asarray(split.map), jax.random.key(0)
    return [np.asarray(run.translate(key, maps, replica=i)) for i in range(len(run.seeds))]


def measured(outputs: np.ndarray, split: Split, segmenter: Segmenter) -> dict[str, float]:
    """Return all columns of one set of outputs."""
    predicted, features = segmenter(outputs)
    _, reference = segmenter(split.photo)
    distances = {**metrics.frechet_distance(reference, features), **metrics.kernel_distance(reference, features)}
    return {
        "l1": float(np.mean(np.abs(outputs - split.photo))),
        "frechet": float(distances["frechet_distance"]),
        "kernel": float(distances["kernel_distance"]),
        **fcn_scores(split.label, predicted, segmenter.num_classes),
    }


def print_row(method: str, values: list[dict[str, float]], as_json: bool) -> None:
    """Print mean and standard deviation over seeds."""
    means = {name: float(np.mean([v[name] for v in values])) for name in COLUMNS}
    deviations = {name: float(np.std([v[name] for v in values], ddof=1)) for name in COLUMNS if len(values) > 1}
    if as_json:
        print(json.dumps({"method": method, "seeds": len(values), **means, "sd": deviations}))
        return
    cells = [f"{means[name]:.4f}" + (f" ± {deviations[name]:.4f}" if deviations else "") for name in COLUMNS]
    print(f"{method:<28}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(
        __doc__ or "",
        repeats=1,
        path={"type": Path, "default": Path("../shared/data/facades_64.npz"), "help": "file of the facades"},
        pix2pix={"help": "run folder of Pix2Pix"},
        l1={"help": "run folder of the generator trained by the L1 distance alone"},
        split={"default": "test", "help": "split to measure on"},
        picture={"help": "file for a picture: rows of maps, of the methods in order, and of photos"},
    )
    splits, num_classes = read(options.path)
    train, split = splits["train"], splits[options.split]
    segmenter = Segmenter(train, num_classes)
    methods = {
        "mean colour of each class": [mean_colours(train, split, num_classes)],
        "its own median colours": [own_colours(split)],
        "photo of the nearest map": [nearest_photos(train, split)],
    }
    methods |= {"L1 alone": of_run(options.l1, split)} if options.l1 else {}
    methods |= {"Pix2Pix": of_run(options.pix2pix, split)} if options.pix2pix else {}
    methods |= {"photos": [split.photo]}
    if not options.json:
        print(f"{options.split:<28}" + "".join(f"{name:>18}" for name in COLUMNS))
    for method, outputs in methods.items():
        print_row(method, [measured(x, split, segmenter) for x in outputs], options.json)
    if options.picture:
        rows = [images[:NUM_PICTURES] for images in (split.map, *(x[0] for x in methods.values()))]
        save_picture(Path(options.picture), row_picture(rows, columns=NUM_PICTURES))


if __name__ == "__main__":
    main()
