"""The command ``compare``: runs of any family beside each other and beside floors, by one protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import sys
from pathlib import Path

from genjax.cli.flags import parse
from genjax.cli.options import CompareOptions
from genjax.cli.output import check_memory
from genjax.runner.shell import genjax_command


def compare_runs(path: Path, arguments: list[str]) -> int:
    """Compare the run in ``path`` with those at the beginning of the arguments, whose rest are flags."""
    from tqdm import tqdm

    from genjax.comparison.compare import compare
    from genjax.comparison.settings import ComparisonSettings
    from genjax.compilation import enable_compilation_cache
    from genjax.metrics.progress import no_progress, progress_bars
    from genjax.runner.load import load_experiment

    others = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    flags = arguments[len(others) :]
    paths = [path, *map(Path, others)]
    (options,) = parse(genjax_command("compare", *paths), flags, CompareOptions)
    dataset = load_experiment(path, defer_data=True).data
    for name in ("num_samples", "speed_samples"):
        check_memory(getattr(options, name), dataset, name=name)
    enable_compilation_cache()
    settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(ComparisonSettings)}
    bars = progress_bars() if sys.stderr.isatty() else contextlib.nullcontext(no_progress)
    with bars as progress:
        table = compare(
            paths,
            options.out,
            ComparisonSettings(**settings),
            floors=options.floors,
            retry_failed=options.retry_failed,
            command=genjax_command("compare", *paths, *flags),
            progress=progress,
            announce=functools.partial(tqdm.write, file=sys.stderr),
        )
    failed = sum(cell.status == "failed" for cell in table.cells)
    cells = f"{len(table.entries)} entries, {sum(cell.status == 'measured' for cell in table.cells)} numbers"
    print(f"wrote {options.out}: {cells}{f', {failed} failed' if failed else ''}; open {options.out}/report.html")
    return 0
