"""Sampling in few steps: 25 Gaussians by 1, 2 and 4 network evaluations, one row for each method.

    python experiments/benchmarks/few_steps.py [--json] [--repeats 8] [--only drifting] [--folder FOLDER]

Every method trains ``--repeats`` seeds at once, in one program by ``vmap``, on fresh points in batches of 512, with
Adam, a cosine schedule and averaged parameters. Numbers of steps give all methods about the same time as the plain
diffusion models; seconds are printed. Networks have three hidden layers of 128 units.

The plain samplers are four of ``diffusion.samplers`` on two models of ``diffusion_densities.py``, EDM and flow
matching. Model, sampler and grid of each number of evaluations are those with the least MMD² on validation draws, of
other keys than the draws that are reported. Metrics of 10,000 samples of each seed:

* modes: number of the 25 modes with a sample within three standard deviations;
* good: percentage of samples within three standard deviations of a mode;
* MMD² and p: statistic and p-value of a kernel two-sample test with 2,000 points of each; "passed" counts the seeds
  with p > 5 %.

Values are means over the seeds, ± their standard deviation. With ``--folder``, rows are kept there as they finish, and
an interrupted benchmark goes on from the first row that is missing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
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

from genjax import diffusion, gan, gradient_learner, metrics, moment_matching, nets
from genjax.core import Array, Batch, GenerativeModel, Variables, stream_key
from genjax.data import synthetic
from genjax.diffusion import grids, parametrizations, processes, samplers, times

BATCH_SIZE, NUM_SAMPLES, NUM_COMPARED = 512, 10_000, 2_000
EVALUATIONS = (1, 2, 4)
GRID = synthetic.GaussianGrid()
SCALE = float(np.sqrt(8 + GRID.scale**2))  # standard deviation of a coordinate
MODES = metrics.GaussianModes(modes=GRID.modes.tolist(), scale=GRID.scale)
WIDTHS = (128,) * 3

Train = Callable[[Array], Any]  # key -> variables, for one seed
Draw = Callable[[Any, Array], Array]  # variables, key -> samples (NUM_SAMPLES, 2), for one seed


class Method(NamedTuple):
    """A row of the table.

    Attributes:
      train: trains one seed; several stages may follow each other inside.
      draws: ways to sample by name, for each number of evaluations; the best on validation draws is reported.
    """

    train: Train
    draws: Mapping[int, Mapping[str, Draw]]


def fitted(
    model: GenerativeModel,
    steps: int,
    *,
    learning_rate: float = 3e-3,
    ema_decay: float | None = 0.999,
    start: Variables | None = None,
    targets: Callable[[Array, Batch], Batch] = lambda _, batch: batch,
) -> Train:
    """Return a function that trains a model on fresh points, or on ``targets`` of them, from ``start`` or from new."""
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    optimizer, init = optax.chain(optax.clip_by_global_norm(1.0), adam), None if start is None else lambda *_: start
    learner = gradient_learner(model, optimizer, ema_decay=ema_decay, init=init)

    def train(key: Array) -> Variables:
        data_key, target_key, train_key = (stream_key(key, name) for name in ("data", "targets", "train"))

        def step(state: Any, _: None) -> tuple[Any, None]:
            batch = {"x": GRID.sample(jax.random.fold_in(data_key, state.step), BATCH_SIZE)}
            batch = targets(jax.random.fold_in(target_key, state.step), batch)
            return learner.step(state, jax.random.fold_in(train_key, state.step), batch)[0], None

        state = learner.init(stream_key(key, "init"), {"x": jnp.zeros((BATCH_SIZE, 2))})
        return jax.lax.scan(step, state, length=steps)[0].variables

    return train


def draws_of(model: Any, evaluations: tuple[int, ...] = EVALUATIONS) -> dict[int, dict[str, Draw]]:
    """Return the draws of a model whose ``sample`` takes as many evaluations as steps, or one if it has no steps."""

    def draw(count: int) -> Draw:
        options = {} if evaluations == (1,) else {"num_steps": count}
        return lambda variables, key: model.sample(variables, key, NUM_SAMPLES, **options)

    return {count: {"": draw(count)} for count in evaluations}


def plain_models() -> dict[str, diffusion.Diffusion]:
    """Return the two models of ``diffusion_densities.py`` whose samplers are compared."""
    fields: dict[str, dict[str, Any]] = {
        "EDM": {
            "process": processes.EDM(start=0.002 * SCALE, end=60.0 * SCALE),
            "parametrization": parametrizations.Preconditioned(data_scale=SCALE),
            "times": times.LogNormal(mean=float(np.log(SCALE)) - 2.0, std=2.0),
        },
        "flow matching": {
            "process": processes.LinearPath(),
            "parametrization": parametrizations.Flow(data_scale=SCALE),
        },
    }
    return {
        name: diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP(WIDTHS), **field) for name, field in fields.items()
    }


SAMPLERS: Mapping[str, samplers.Sampler] = {
    "DDIM": samplers.DDIM(),
    "DPM-Solver++ (2M)": samplers.DPMSolverPP(2),
    "Heun": samplers.Heun(),
    "ancestral": samplers.Ancestral(),
}


def plain(steps: int) -> Method:
    """Train both plain models; try every sampler on every grid."""
    models = plain_models()

    def train(key: Array) -> dict[str, Variables]:
        return {name: fitted(model, steps)(key) for name, model in models.items()}

    def draw(name: str, sampler: samplers.Sampler, grid: grids.Grid, count: int) -> Draw:
        options: dict[str, Any] = {"sampler": sampler, "grid": grid, "num_steps": count // sampler.evaluations}
        return lambda variables, key: models[name].sample(variables[name], key, NUM_SAMPLES, **options)

    def choices(count: int) -> dict[str, Draw]:
        every = itertools.product(models, SAMPLERS.items(), grids.GRIDS.items())
        # One step of any sampler on any grid returns the first denoised noise.
        alternatives = (
            every if count > 1 else [(name, ("DDIM", samplers.DDIM()), ("uniform", grids.Uniform())) for name in models]
        )
        return {
            f"{name}, {sampler_name}, {grid_name}": draw(name, sampler, grid, count)
            for name, (sampler_name, sampler), (grid_name, grid) in alternatives
            if count % sampler.evaluations == 0
        }

    return Method(train, {count: choices(count) for count in EVALUATIONS})


def mean_flow(steps: int) -> Method:
    """Mean flow; without the adaptive weight training diverged, and longer tails of the times train its single step."""
    model = diffusion.MeanFlow(
        shape=(2,),
        net=nets.DenoisingMLP(WIDTHS),
        data_scale=SCALE,
        times=times.LogitNormal(0.0, 1.5),
        pair_fraction=0.5,
    )
    return Method(fitted(model, steps), draws_of(model))


def drifting(steps: int) -> Method:
    """Drifting: one evaluation only."""
    generator = gan.MLPGenerator(WIDTHS, output_shape=(2,))
    model = moment_matching.Drifting(
        latent_dim=2,
        generator=generator,
        widths=(0.03, 0.15, 0.8),
        initial_scale=10.0,
        annealing_steps=max(1, steps // 5),
        kernel="gaussian",
    )
    return Method(fitted(model, steps, learning_rate=1e-2), draws_of(model, (1,)))


def consistency_model(gap: diffusion.GridGap | diffusion.ShrinkingGap) -> diffusion.ConsistencyModel:
    """Return a consistency model on EDM's levels; the papers' settings are for data of standard deviation 0.5."""
    return diffusion.ConsistencyModel(
        denoiser=dataclasses.replace(
            plain_models()["EDM"], process=processes.EDM(start=0.002 * SCALE, end=20.0 * SCALE)
        ),
        gap=gap,
        times=times.LogNormal(mean=float(np.log(2 * SCALE)) - 1.1, std=2.0),
        huber=0.02 * 2 * SCALE,
    )


def consistency_training(steps: int) -> Method:
    """Consistency training from scratch. A step takes a third more time than one of diffusion."""
    steps = 3 * steps // 4
    model = consistency_model(diffusion.GridGap(steps_per_stage=steps // 4, last=80))
    return Method(fitted(model, steps), draws_of(model))


def after_diffusion(steps: int, *, distills: bool) -> Method:
    """Consistency tuning of a diffusion model, which takes a quarter of the time, or its distillation."""
    before, steps = steps // 4, int(0.75 * steps / ((5 if distills else 4) / 3))
    model = consistency_model(diffusion.ShrinkingGap(steps_per_stage=-(-steps // 4), num_stages=4, b=0.5 / SCALE))

    def train(key: Array) -> Variables:
        teacher = fitted(model.denoiser, before)(stream_key(key, "teacher"))
        targets = functools.partial(diffusion.consistency_targets, model, teacher)
        options: dict[str, Any] = {"targets": targets} if distills else {}
        return fitted(model, steps, start=teacher, **options)(key)

    return Method(train, draws_of(model))


def progressive_distillation(steps: int) -> Method:
    """Students of 16, 8, 4, 2 and 1 steps, which take 12 % of the time each; their first teacher takes 40 %."""
    first = diffusion.Diffusion(
        shape=(2,),
        net=nets.DenoisingMLP(WIDTHS),
        process=processes.Cosine(shift=-2 * float(np.log(SCALE))),
        parametrization=parametrizations.Velocity(data_scale=SCALE),
        grid=grids.Nested(grids.LogSNR()),
    )
    students = {count: diffusion.distilled(first, count) for count in (16, 8, 4, 2, 1)}

    def train(key: Array) -> dict[int, Variables]:
        model, variables = first, fitted(first, 2 * steps // 5)(stream_key(key, "teacher"))
        trained = {}
        for count, student in students.items():
            targets = functools.partial(diffusion.distillation_targets, model, variables, num_steps=count)
            # A step takes two thirds more time than one of diffusion.
            fit = fitted(student, int(0.12 * steps * 3 / 5), ema_decay=0.995, start=variables, targets=targets)
            model, variables = student, fit(stream_key(key, f"{count} steps"))
            trained[count] = variables
        return trained

    def draw(count: int) -> Draw:
        return lambda variables, key: students[count].sample(variables[count], key, NUM_SAMPLES)

    return Method(train, {count: {"": draw(count)} for count in EVALUATIONS})


# Every row with its number of training steps; those of several stages count steps of plain diffusion of equal time.
METHODS: Mapping[str, tuple[Callable[[int], Method], int]] = {
    "plain sampler": (plain, 4_000),
    "mean flow": (mean_flow, 4_000),
    "drifting": (drifting, 6_000),
    "consistency training": (consistency_training, 4_000),
    "consistency tuning": (functools.partial(after_diffusion, distills=False), 4_000),
    "consistency distillation": (functools.partial(after_diffusion, distills=True), 4_000),
    "progressive distillation": (progressive_distillation, 4_000),
}


def drawn(draw: Draw, variables: Any, keys: Array, stream: str) -> Array:
    """Return samples of all seeds, (S, N, 2)."""
    sample_keys = jax.vmap(lambda key: stream_key(key, stream))(keys)
    return jax.jit(jax.vmap(draw))(variables, sample_keys)


def validation_mmd(draw: Draw, variables: Any, keys: Array) -> float:
    """Return MMD² of a way to sample from validation points, mean over the seeds."""
    reference = GRID.sample(jax.random.key(1), NUM_COMPARED)
    samples = drawn(draw, variables, keys, "validation")[:, :NUM_COMPARED]
    return float(np.mean([metrics.mmd_squared(reference, x)["mmd2"] for x in samples]))


def scores(samples: Array) -> dict[str, list[float]]:
    """Return the metrics of each seed."""
    reference, values = GRID.sample(jax.random.key(2), NUM_COMPARED), []
    for x in jnp.where(jnp.isfinite(samples), samples, 0.0):
        test = metrics.mmd_test(jax.random.key(3), reference, x[:NUM_COMPARED])
        modes = MODES.compute(MODES.update(MODES.init(), x))
        values.append({**modes, "mmd2": test["mmd2"], "p_value": test["p_value"]})
    return {name: [float(value[name]) for value in values] for name in values[0]}


def measured(name: str, *, num_seeds: int, steps: int | None = None) -> list[dict[str, Any]]:
    """Train one method; return a row for each number of evaluations."""
    make, default_steps = METHODS[name]
    method, keys = make(steps or default_steps), jax.vmap(jax.random.key)(np.arange(num_seeds))
    started = time.perf_counter()
    variables = jax.block_until_ready(jax.jit(jax.vmap(method.train))(keys))
    seconds, rows = round(time.perf_counter() - started, 1), []
    for count, choices in method.draws.items():
        best, *others = choices
        if others:
            errors = {choice: validation_mmd(draw, variables, keys) for choice, draw in choices.items()}
            best = min(errors, key=lambda choice: errors[choice])
        values = scores(drawn(choices[best], variables, keys, "samples"))
        facts = {"method": name, "choice": best, "evaluations": count, "seconds": seconds, "machine": machine()}
        rows.append({**facts, **values})
    return rows


def main() -> None:
    """Train all methods and print the table row by row."""
    more = {
        "only": {"default": "", "help": "train only methods whose name contains this"},
        "steps": {"type": int, "help": "number of training steps in place of each method's own"},
        "folder": {"type": Path, "help": "folder that keeps finished rows"},
    }
    options = arguments(__doc__ or "", repeats=8, **more)
    names = [name for name in METHODS if options.only in name]
    if not names:
        sys.exit(f"only is {options.only!r}, but names are {', '.join(METHODS)}")
    for name in names:
        steps = options.steps or METHODS[name][1]
        file = f"{name}, {steps} steps, {options.repeats} seeds.json".replace(" ", "_")
        path = None if options.folder is None else options.folder / file
        if path is not None and path.exists():
            rows = json.loads(path.read_text())
        else:
            rows = measured(name, num_seeds=options.repeats, steps=steps)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(rows))
        for row in rows:
            print(json.dumps(row) if options.json else text(row), flush=True)
    if not options.json:
        print(f"{NUM_SAMPLES:,} samples, {options.repeats} seeds, mean ± sd; {machine()}")


def text(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""

    def cell(name: str, factor: float = 1.0, digits: int = 1) -> str:
        values = factor * np.asarray(row[name])
        return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"

    passed = sum(p > 0.05 for p in row["p_value"])
    parts = (
        f"{row['method']:<26}{row['evaluations']:>3}   modes {cell('modes_captured'):<13}",
        f"good {cell('high_quality_share', 100):<13}MMD² {cell('mmd2', digits=4):<18}",
        f"p {cell('p_value', digits=2):<13}passed {passed}/{len(row['p_value'])}",
        f"   {row['seconds']:.0f} s   {row['choice']}",
    )
    return "".join(parts)


if __name__ == "__main__":
    main()
