"""The command ``judge``: a page on which people compare samples, and scores of their answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from genjax.cli.flags import parse, paths_and_flags
from genjax.cli.options import JudgeOptions, ScoreOptions
from genjax.runner.shell import genjax_command


def judge_runs(path: Path, arguments: list[str]) -> int:
    """Write the page of the run in ``path`` and of those at the beginning of the arguments, whose rest are flags."""
    from genjax.compilation import enable_compilation_cache
    from genjax.judging.make import write_page
    from genjax.judging.trials import TASKS
    from genjax.metrics.progress import no_progress, progress_bars
    from genjax.runner.load import load_experiment

    others, flags = paths_and_flags(arguments)
    paths = [path, *others]
    (options,) = parse(genjax_command("judge", *paths), flags, JudgeOptions)
    enable_compilation_cache()
    settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    if options.tasks is None:
        is_sound = load_experiment(path, defer_data=True).data.sound is not None
        possible = {"real": True, "timed": not is_sound, "preference": len(paths) > 1}
        settings["tasks"] = tuple(task for task in TASKS if possible[task])
    bars = progress_bars(unit="run") if sys.stderr.isatty() else contextlib.nullcontext(no_progress)
    with bars as progress:
        key = write_page(paths, progress=progress, **settings)
    count = options.num_trials * len(settings["tasks"]) + options.num_checks
    print(
        f"wrote {options.out}: {count} questions; send it to raters, keep {key}, and score what they send back with: "
        f"{genjax_command('judge', '--score', 'ANSWERS', '--key', key)}"
    )
    return 0


def score_answers(arguments: list[str]) -> int:
    """Print the scores of the answers in files."""
    from genjax.judging.answers import describe, read_answers, read_key, score

    (options,) = parse(genjax_command("judge"), arguments, ScoreOptions)
    if not options.score:
        raise ValueError("--score names no file; pass those that raters saved, such as --score answers-*.json")
    key = read_key(options.key or _only_key(options.score))
    for path in options.score:
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}; check the path")
    answers = read_answers(options.score, key)
    scores = score(answers, key["entries"], max_failed=options.max_failed, confidence=options.confidence)
    print(json.dumps(scores) if options.json else describe(scores))
    return 0


def _only_key(files: Sequence[Path]) -> Path:
    folders = dict.fromkeys((files[0].parent, Path()))
    keys = sorted({path.resolve() for folder in folders for path in folder.glob("*.key.json")})
    if len(keys) != 1:
        raise ValueError(
            f"{'no' if not keys else len(keys)} .key.json files in {' and '.join(map(str, folders))}; pass --key with "
            "the one that judge wrote beside the page"
        )
    return keys[0]
