"""CycleGAN on drawings of digits, against the true translations: errors of pairs and of cycles, and what hides in them.

    python experiments/benchmarks/cycle_gan.py [--drawings DRAWING ...] [--repeats SEEDS] [--json]

Each row trains ``experiments/cycle_gan_digits.py`` with one drawing; ``--cycle-weight`` and ``--identity-weight``
replace its defaults. Mean absolute errors of pixels in [0, 1] on the test split, mean ± sd over seeds:

* x given y, and y given x: distance of a translation from the truth;
* constant x, constant y: error of the best answer that ignores the input, the median image of the training split;
* cycle x: distance of a digit from its translation there and back;
* rounded: the same, with the drawing in between rounded to black and white, as all edges are. What this adds to the
  error was hidden in grey levels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from report import arguments

sys.path.insert(0, str(Path(__file__).parents[1]))

import cycle_gan_digits

from genjax.runner import Run, train


def errors(run: Run) -> dict[str, float]:
    """Return all errors of a run on its test split."""
    splits = run.experiment.data.splits
    x, y = (jnp.asarray(splits["test"].take(np.arange(len(splits["test"])))[name]) for name in ("x", "y"))
    median = {name: np.median(splits["train"].take(np.arange(len(splits["train"])))[name], axis=0) for name in "xy"}

    def translate(images: jax.Array, direction: str) -> jax.Array:
        return run.translate(jax.random.key(0), images, direction=direction)

    def error(images: jax.Array | np.ndarray, truth: jax.Array) -> float:
        return float(jnp.mean(jnp.abs(truth - images)))

    drawings = translate(x, "x_to_y")
    return {
        "x given y": error(translate(y, "y_to_x"), x),
        "constant x": error(median["x"][None], x),
        "y given x": error(drawings, y),
        "constant y": error(median["y"][None], y),
        "cycle x": error(translate(drawings, "y_to_x"), x),
        "rounded": error(translate(jnp.round(drawings), "y_to_x"), x),
    }


def main() -> None:
    """Run the benchmark and print its rows."""
    options = arguments(
        __doc__ or "",
        repeats=3,
        drawings={"nargs": "+", "default": ["edges", "inverted"], "help": "edges, inverted or rotated"},
        **{f"{name}-weight": {"type": float, "help": f"weight of the {name} error"} for name in ("cycle", "identity")},
    )
    weights = {"cycle_weight": options.cycle_weight, "identity_weight": options.identity_weight}
    weights = {name: value for name, value in weights.items() if value is not None}
    for drawing in options.drawings:
        experiment = cycle_gan_digits.experiment(drawing=drawing, **weights)
        runs = [train(experiment, seed=seed) for seed in range(options.repeats)]
        results = [errors(run) for run in runs]
        row = {}
        for name in results[0]:
            values = [result[name] for result in results]
            row[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=min(1, len(values) - 1)))}
        if options.json:
            print(json.dumps({"drawing": drawing, "seeds": options.repeats, **weights, **row}), flush=True)
        else:
            cells = [f"{name} {v['mean']:.3f} ± {v['sd']:.3f}" for name, v in row.items()]
            print(f"{drawing:<26}" + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
