"""The command ``choose``: models for some needs, from a measured table."""

from __future__ import annotations

import dataclasses
import json
import shlex

from genjax.cli.flags import parse
from genjax.cli.options import ChooseOptions
from genjax.comparison.choosing import USUAL, Advice, choose, read_table
from genjax.runner.shell import genjax_command


def choose_models(arguments: list[str]) -> int:
    """Print the models that meet some needs best."""
    (options,) = parse(genjax_command("choose"), arguments, ChooseOptions)
    table = read_table(options.data)
    advice = choose(table, options.need or USUAL)
    if options.json:
        print(json.dumps([dataclasses.asdict(each) for each in advice[: options.top]]))
        return 0
    needs = ", ".join(options.need or USUAL)
    print(f"{needs}: {len(advice)} candidates measured on {options.data}")
    for number, each in enumerate(advice[: options.top], start=1):
        print(_describe(number, each))
    return 0


def _describe(number: int, advice: Advice) -> str:
    entry = advice.entry
    model = f"{entry.family}.{entry.model}" if entry.family else entry.model
    lines = [f"{number}. {entry.name} ({model}), score {advice.score:.2f}"]
    lines += [f"   why: {'; '.join(advice.reasons)}"] if advice.reasons else []
    lines += [f"   gives up: {'; '.join(advice.given_up)}"] if advice.given_up else []
    lines += [f"   start: {genjax_command(*shlex.split(entry.command)[1:])}"] if entry.command else []
    return "\n".join(lines)
