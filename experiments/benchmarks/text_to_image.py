"""Digits drawn from prompts: how many a classifier recognizes, and their Fréchet distance, by guidance weight.

    genjax train experiments/text_to_image_digits.py --workdir RUN
    python experiments/benchmarks/text_to_image.py --run RUN [--json] [--guidance 1 2 3] [--repeats 5]

For each of the 200 compositions, such as "3 above 7", ``repeats`` canvases are drawn. The project's classifier of
digits sees the two places that the prompt names. Columns are the recognized digits and the canvases whose digits are
both recognized, for compositions that training has shown and for those held out of it, and the Fréchet distance of the
drawn digits from the 360 test digits, on features of the classifier. The first two rows are the test canvases and their
reconstructions by the autoencoder, for comparison.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import arguments, machine

from genjax import data, load_run
from genjax.core import step_key
from genjax.data.captions import CORNERS, SIDE, held_out, parts_of
from genjax.metrics import channel_classes, extract, feature_network, frechet_distance_from_moments, moments

CLASSIFIER = "classifier:digits"
COLUMNS = ("digits", "canvases", "held-out digits", "held-out canvases")


def main() -> None:
    """Draw, score and print the table row by row."""
    more = {
        "run": {"required": True, "help": "run folder of experiments/text_to_image_digits.py"},
        "guidance": {"type": float, "nargs": "+", "default": [1.0, 1.5, 2.0, 3.0, 5.0], "help": "guidance weights"},
        "num-steps": {"type": int, "default": None, "help": "number of sampling steps; by default the model's own"},
    }
    options = arguments(__doc__ or "", repeats=5, **more)
    run, network = load_run(options.run), feature_network(CLASSIFIER)
    dataset, display = run.experiment.data, run.experiment.to_display
    digits = data.digits().splits["test"]
    reference = moments(extract(network, [digits.take(np.arange(len(digits)))["x"]], len(digits)).features)
    tokenizer, length = dataset.condition_tokenizers["prompt"], dataset.spec()["prompt"].shape[0]
    names = dataset.class_names or ()
    tokens = np.stack([np.pad(tokenizer.encode(name), (0, length))[:length] for name in names])

    def score(x: np.ndarray, composition: np.ndarray) -> dict[str, float]:
        crops, labels = digits_of(display(x), composition)
        right = np.asarray(channel_classes(network, jnp.asarray(crops))).reshape(-1, 2) == labels
        new = held_out(composition)
        values = [rate for part in (right[~new], right[new]) for rate in (part.mean(), part.all(axis=1).mean())]
        drawn = moments(extract(network, [jnp.asarray(crops)], len(crops)).features)
        distance = frechet_distance_from_moments(reference, drawn)["frechet_distance"]
        return dict(zip(COLUMNS, map(float, values), strict=True)) | {"frechet_distance": float(distance)}

    test = dataset.splits["test"].take(np.arange(len(dataset.splits["test"])))
    x = np.asarray(run.experiment.preprocess(jax.random.key(0), {"x": jnp.asarray(test["x"])})["x"])
    model: Any = run.model
    reconstruct = jax.jit(model.reconstruct)
    if not options.json:
        print(f"{'':<20}" + "".join(f"{column:>19}" for column in (*COLUMNS, "Fréchet distance")))
    print_row("test canvases", score(x, test["label"]), as_json=options.json)
    coded = np.asarray(reconstruct(run.variables, jax.random.key(0), x))
    print_row("reconstructions", score(coded, test["label"]), as_json=options.json)
    composition = np.repeat(np.arange(len(names)), options.repeats)
    for number, weight in enumerate(options.guidance):
        settings: dict[str, Any] = {"guidance": weight, "prompt": tokens[composition], "num_steps": options.num_steps}
        drawn = run.sample(step_key(jax.random.key(0), number), len(composition), **settings)
        print_row(f"guidance {weight:g}", score(np.asarray(drawn), composition), as_json=options.json)
    if not options.json:
        print(f"{options.repeats} canvases of each of {len(names)} compositions; {machine()}")


def digits_of(canvases: np.ndarray, composition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits at the places of compositions (N,), (2 N, 8, 8, 1), and their classes, (N, 2)."""
    parts = [parts_of(each) for each in composition.tolist()]
    crops = [
        canvas[top : top + SIDE, left : left + SIDE]
        for canvas, (relation, _) in zip(canvases, parts, strict=True)
        for top, left in CORNERS[relation]
    ]
    return np.stack(crops), np.array([pair for _, pair in parts])


def print_row(name: str, values: Mapping[str, float], *, as_json: bool) -> None:
    """Print a row of the table, or a line of JSON."""
    if as_json:
        print(json.dumps({"row": name, **values, "machine": machine()}), flush=True)
        return
    *rates, distance = values.values()
    print(f"{name:<20}" + "".join(f"{rate:>19.1%}" for rate in rates) + f"{distance:>19.2f}", flush=True)


if __name__ == "__main__":
    main()
