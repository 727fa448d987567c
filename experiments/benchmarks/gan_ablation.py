"""What the R3GAN recipe needs: its loss and penalties, changed one at a time, on 25 Gaussians and on stacked digits.

    python experiments/benchmarks/gan_ablation.py [--json] [--repeats 3] [--only gaussians] [--folder FOLDER]

Each row trains one run per seed, in one program by ``vmap``, with batches of 128, one update of each network per step,
and samples of the last step without averaged parameters, to show the dynamics of the game itself. Networks, γ, Adam and
the decay of its learning rates are those of ``gan_gaussians.py``, for 3,000 steps, and of ``gan_stacked_digits.py``,
for 1,500 steps. Metrics:

* modes: number of the 25 modes with a sample within three standard deviations, of 10,000 samples; or of the 100 pairs
  of digits that the project's classifier sees in 26,000 samples;
* KL: divergence of the modes' frequencies from uniform, nats;
* good: fraction of samples that lie within three standard deviations of a mode (25 Gaussians only);
* diverged: number of runs that ended with values that are not finite, which count as zero modes.

Values are means over the runs, ± their standard deviation. With ``--folder``, rows are kept there as they finish, and
an interrupted benchmark goes on from the first row that is missing.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import arguments, machine

from genjax import data, gan, gradient_learner
from genjax.core import step_key, stream_key
from genjax.data import synthetic
from genjax.metrics import GaussianModes
from genjax.runner import modes_score

BATCH_SIZE, LAZY = 128, 16
GRID = synthetic.GaussianGrid()
MODES = GaussianModes(modes=GRID.modes.tolist(), scale=GRID.scale)
STACKED = modes_score("classifier:digits", num_channels=2, display=lambda x: (x + 1) / 2)

# Loss, and factors on γ for R1 and R2, with the interval of the penalties.
RECIPES: Mapping[str, tuple[gan.AdversarialLoss, float, float, int]] = {
    "relativistic + R1 + R2": (gan.Relativistic(), 1, 1, 1),
    "relativistic + R1": (gan.Relativistic(), 1, 0, 1),
    "relativistic + R2": (gan.Relativistic(), 0, 1, 1),
    "relativistic + lazy R1 + R2": (gan.Relativistic(), 1, 1, LAZY),
    "non-saturating + R1 + R2": (gan.NonSaturating(), 1, 1, 1),
}


class Task(NamedTuple):
    """A data set with its networks, γ, and scores of samples."""

    fields: Mapping[str, Any]
    penalty: float
    final_scale: float  # of the penalty
    learning_rates: Mapping[str, float]
    final_rate: float  # share of the initial rate
    steps: int
    sample: Callable[[jax.Array, int], jax.Array]
    score: Callable[[jax.Array], Mapping[str, jax.Array]]
    num_samples: int


def gaussians() -> Task:
    """25 Gaussians, and dense networks, the discriminator's on Fourier features."""
    fields = {
        "latent_dim": 2,
        "generator": gan.MLPGenerator((128,) * 3, output_shape=(2,)),
        "discriminator": gan.MLPDiscriminator((128,) * 3, fourier_features=32),
    }
    score = jax.jit(lambda x: MODES.compute(MODES.update(MODES.init(), x)))
    rates = {"discriminator": 1e-3, "generator": 3e-3}
    return Task(fields, 0.1, 0.1, rates, 1 / 30, 3_000, GRID.sample, score, 10_000)


def stacked_digits() -> Task:
    """Two digits in the channels of an image, 100 modes, and dense networks."""
    shape = (8, 8, 2)
    fields = {
        "latent_dim": 32,
        "generator": gan.MLPGenerator((256, 256), shape, output_activation=jax.nn.tanh),
        "discriminator": gan.MLPDiscriminator((256, 256)),
    }
    train = data.stack(data.digits(), jax.random.key(0), num_channels=2).splits["train"]
    images = jnp.asarray(train.take(np.arange(len(train)))["x"])

    def sample(key: jax.Array, count: int) -> jax.Array:
        rows = jax.random.randint(key, (count,), 0, len(images))
        return images[rows] / 8.0 - 1

    rates = {"discriminator": 1e-3, "generator": 1e-3}
    return Task(fields, 1.0, 1.0, rates, 0.1, 1_500, sample, STACKED.score, STACKED.num_samples)


TASKS: Mapping[str, Callable[[], Task]] = {"gaussians": gaussians, "stacked digits": stacked_digits}


def trained(task: Task, recipe: str, *, num_seeds: int, steps: int | None = None) -> dict[str, list[float]]:
    """Train one row of the table; return each metric of each run."""
    loss, r1, r2, every = RECIPES[recipe]
    steps = steps or task.steps
    penalty = gan.R1(weight=r1 * task.penalty, fake_weight=r2 * task.penalty, every=every)
    annealed = gan.AnnealedPenalty(penalty=penalty, final_scale=task.final_scale, num_steps=2 * steps // 3)
    model = gan.GAN(**task.fields, adversarial_loss=loss, penalties=(annealed,))

    def adam(rate: float) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(rate, steps, alpha=task.final_rate), b1=0.0, b2=0.99)

    learner = gradient_learner(model, {name: adam(rate) for name, rate in task.learning_rates.items()})

    def run(key: jax.Array) -> jax.Array:
        def step(train: Any, _: None) -> tuple[Any, None]:
            batch = {"x": task.sample(step_key(stream_key(key, "data"), train.step), BATCH_SIZE)}
            return learner.step(train, step_key(stream_key(key, "train"), train.step), batch)[0], None

        shape = jax.eval_shape(lambda key: task.sample(key, BATCH_SIZE), key).shape
        train = learner.init(stream_key(key, "init"), {"x": jnp.zeros(shape)})
        train = jax.lax.scan(step, train, length=steps)[0]
        return model.sample(train.variables, stream_key(key, "samples"), task.num_samples)

    keys = jax.vmap(jax.random.key)(np.arange(num_seeds))
    rows = [scores(task, samples) for samples in jax.jit(jax.vmap(run))(keys)]
    return {name: [row[name] for row in rows] for name in rows[0]}


def scores(task: Task, samples: jax.Array) -> dict[str, float]:
    """Return the metrics of one run."""
    finite = bool(jnp.all(jnp.isfinite(samples)))
    values = {name: float(value) for name, value in task.score(jnp.where(finite, samples, 0.0)).items()}
    if not finite:
        values |= {"modes_captured": 0.0, "high_quality_share": 0.0}
    return values | {"diverged": float(not finite)}


def main() -> None:
    """Train all rows and print the table row by row."""
    more = {
        "only": {"default": "", "help": "train only rows whose task or recipe contains this"},
        "folder": {"type": Path, "help": "folder that keeps finished rows"},
    }
    options = arguments(__doc__ or "", repeats=3, **more)
    rows = [(t, r) for t in TASKS for r in RECIPES if options.only in f"{t} {r}"]
    if not rows:
        sys.exit(f"only is {options.only!r}, but names are {', '.join([*TASKS, *RECIPES])}")
    for task, recipe in rows:
        name = f"{task}, {recipe}, {options.repeats} seeds".replace(" ", "_")
        path = None if options.folder is None else options.folder / f"{name}.json"
        if path is not None and path.exists():
            entries = json.loads(path.read_text())
        else:
            started = time.perf_counter()
            values = trained(TASKS[task](), recipe, num_seeds=options.repeats)
            seconds = round(time.perf_counter() - started, 1)
            entries = {"task": task, "recipe": recipe, **values, "seconds": seconds, "machine": machine()}
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(entries))
        print(json.dumps(entries) if options.json else text(entries), flush=True)


def text(entries: Mapping[str, Any]) -> str:
    """Return a row of the table."""

    def cell(name: str, factor: float = 1.0, digits: int = 1) -> str:
        if name not in entries:
            return ""
        values = factor * np.asarray(entries[name])
        return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"

    parts = (
        f"{entries['task']:<16}{entries['recipe']:<30}",
        f"modes {cell('modes_captured'):<13}KL {cell('kl_to_uniform', digits=3):<17}",
        f"good {cell('high_quality_share', 100):<13}diverged {sum(entries['diverged']):.0f}",
        f"   {entries['seconds']:.0f} s",
    )
    return "".join(parts)


if __name__ == "__main__":
    main()
