"""A page and its key from runs of the same data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.io import replace_file
from genjax.judging.examples import draw, real_examples, to_media
from genjax.judging.page import Medium, make_page, page_name
from genjax.judging.trials import CHECK, DATA, TASKS, Task, Trials, make_trials, scrambled, to_key
from genjax.metrics.progress import Progress, no_progress
from genjax.ops.keys import seed_key
from genjax.runner.folder import RunFolder
from genjax.runner.load import load_experiment, load_run


def write_page(
    paths: Sequence[Path],
    out: Path,
    *,
    tasks: Sequence[Task] = TASKS,
    num_trials: int = 30,
    num_checks: int = 5,
    exposure: int = 500,
    title: str = "Compare two examples",
    split: str = "test",
    seed: int = 0,
    checkpoint: str = "last",
    batch_size: int = 500,
    progress: Progress = no_progress,
) -> Path:
    """Write a page that asks raters about the samples of runs, and return the path of its key.

    Args:
      paths: run folders, which share their data.
      out: file of the page; the key is written beside it, and is not for raters.
      tasks: what is asked: "real", "timed" (the same, shown for a moment) and "preference" (between two runs).
      num_trials: number of questions of each task.
      num_checks: number of attention checks, questions about an example of the data and noise.
      exposure: time for which the examples of timed questions are shown, in milliseconds.
      title: title of the page.
      split: split that real examples are taken from.
      seed: seed of samples and of the choice of examples.
      checkpoint: "last", "best" (by the held-out metric), or a step.
      batch_size: number of samples drawn at once.
      progress: function that starts a progress bar.

    Raises:
      ValueError: if the runs do not share their data, or a task does not fit them.
    """
    experiments = [load_experiment(path, defer_data=True) for path in paths]
    names = _names(paths, [experiment.data.name for experiment in experiments])
    if "preference" in tasks and len(names) < 2:
        raise ValueError("a preference is between two runs, but there is one; name more, or use --tasks real timed")
    if "timed" in tasks and experiments[0].data.sound is not None:
        raise ValueError("sounds are not shown for a moment; use --tasks real preference")
    random, key = np.random.default_rng(seed), seed_key(seed)
    trials = make_trials(names, tasks, num_trials, num_checks, random)
    needed = trials.needed
    advance = progress("runs", len(names))
    media: dict[str, list[Medium]] = {}
    for path, name, experiment in zip(paths, names, experiments, strict=True):
        run = load_run(path, checkpoint=checkpoint, experiment=experiment)
        media[name] = to_media(draw(run, key, needed[name], batch_size), experiment) if name in needed else []
        advance(1)
    real = real_examples(experiments[0], split, needed.get(DATA, 0) + needed.get(CHECK, 0), key, random)
    shown, noise = np.split(real, [needed.get(DATA, 0)])
    media[DATA] = to_media(shown, experiments[0]) if len(shown) else []
    media[CHECK] = to_media(scrambled(noise, random), experiments[0]) if len(noise) else []
    return _write(out, trials, media, names, title=title, exposure=exposure, settings={"runs": list(map(str, paths))})


def _write(
    out: Path,
    trials: Trials,
    media: Mapping[str, Sequence[Medium]],
    names: Sequence[str],
    *,
    title: str,
    exposure: int,
    settings: Mapping[str, Any],
) -> Path:
    named = {name: media[entry][index] for name, (entry, index) in sorted(trials.contents.items())}
    page, key_path = make_page(trials, named, title=title, exposure=exposure), key_of(out)
    key = to_key(trials, page_name(trials, named), names, {"exposure": exposure, **settings})
    replace_file(out, page.encode())
    replace_file(key_path, (json.dumps(key, indent=1) + "\n").encode())
    return key_path


def key_of(page: Path) -> Path:
    """Return the path of a page's key."""
    return page.with_name(f"{page.stem}.key.json")


def _names(paths: Sequence[Path], datasets: Sequence[str]) -> list[str]:
    """Return a name for each run: that of its experiment, with the folder where it is not the only one.

    Raises:
      ValueError: if runs have different data, or one is named twice.
    """
    for path, dataset in zip(paths, datasets, strict=True):
        if dataset != datasets[0]:
            raise ValueError(
                f"{paths[0]} is a run of {datasets[0]!r}, and {path} one of {dataset!r}; judge runs of one data set"
            )
    repeated = [path for number, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:number]]]
    if repeated:
        raise ValueError(f"{repeated[0]} is named twice; name each run once")
    experiments = [RunFolder(path).read_json("arguments.json")["experiment"] for path in paths]
    return [
        f"{name} ({path})" if experiments.count(name) > 1 else name
        for path, name in zip(paths, experiments, strict=True)
    ]
