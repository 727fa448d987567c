"""The command ``choose``: recommends models from a measured table, or from a race on your own data."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shlex
import sys

from genjax.cli.flags import parse
from genjax.cli.options import ChooseOptions
from genjax.comparison.choosing import Advice, choose, nearest_table, read_table, usual_needs
from genjax.comparison.durations import seconds_of
from genjax.comparison.table import Table
from genjax.data import Dataset
from genjax.runner.shell import genjax_command


def choose_models(arguments: list[str]) -> int:
    """Print the models that meet some needs best."""
    (options,) = parse(genjax_command("choose"), arguments, ChooseOptions)
    _check(options)
    table, measured_on = _table(options, genjax_command("choose", *arguments))
    needs = options.need or usual_needs(table)
    advice = choose(table, needs)
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in advice[: options.top]]))
        return 0
    print(f"{', '.join(needs)}: {len(advice)} candidates measured on {measured_on}")
    for number, each in enumerate(advice[: options.top], start=1):
        print(_describe(number, each))
    return 0


def _check(options: ChooseOptions) -> None:
    """Raise ValueError for options that do not belong together."""
    defaults = ChooseOptions()
    if options.race is not None:
        if options.data == defaults.data:
            raise ValueError("--race needs --data, the name or the path of the data to race on")
        return
    for name in ("methods", "seeds", "out"):
        if getattr(options, name) != getattr(defaults, name):
            raise ValueError(f"--{name} is for a race; add --race 10m")


def _table(options: ChooseOptions, command: str) -> tuple[Table, str]:
    """Return the table that advice is taken from, and what it was measured on."""
    if options.race is not None:
        return _race(options, command), options.data
    try:
        return read_table(options.data), options.data
    except FileNotFoundError as missing:
        dataset = _load(options.data, str(missing))
    name, reason = nearest_table(dataset)
    return read_table(name), f"{name}, the nearest table, because {reason}; add --race 10m to measure on {dataset.name}"


def _load(name: str, no_table: str) -> Dataset:
    from genjax.data import load

    try:
        return load(name)
    except (ValueError, FileNotFoundError) as error:
        raise FileNotFoundError(f"{no_table}; for data of your own, {error}") from None


def _race(options: ChooseOptions, command: str) -> Table:
    from tqdm import tqdm

    from genjax.compilation import enable_compilation_cache
    from genjax.metrics.progress import no_progress, progress_bars
    from genjax.racing import RaceError
    from genjax.racing.race import race

    assert options.race is not None
    budget = seconds_of("--race", options.race)
    enable_compilation_cache()
    with progress_bars() if sys.stderr.isatty() else contextlib.nullcontext(no_progress) as progress:
        try:
            _, table = race(
                options.data,
                budget,
                options.out,
                seeds=options.seeds,
                methods=options.methods,
                needs=options.need,
                command=command,
                progress=progress,
                announce=functools.partial(tqdm.write, file=sys.stderr),
            )
        except RaceError as error:
            raise ChildProcessError(str(error)) from None
    tqdm.write(f"wrote {options.out}: open {options.out}/comparison/report.html", file=sys.stderr)
    return table


def _describe(number: int, advice: Advice) -> str:
    entry = advice.entry
    model = f"{entry.family}.{entry.model}" if entry.family else entry.model
    lines = [f"{number}. {entry.name} ({model}), score {advice.score:.2f}"]
    lines += [f"   why: {'; '.join(advice.reasons)}"] if advice.reasons else []
    lines += [f"   gives up: {'; '.join(advice.given_up)}"] if advice.given_up else []
    lines += [f"   start: {genjax_command(*shlex.split(entry.command)[1:])}"] if entry.command else []
    return "\n".join(lines)
