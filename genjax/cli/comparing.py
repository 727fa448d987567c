"""The command ``compare``: runs of any family beside each other and beside floors, by one protocol."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from genjax.cli.flags import parse, paths_and_flags
from genjax.cli.options import CompareOptions
from genjax.cli.output import check_memory
from genjax.runner.shell import genjax_command

if TYPE_CHECKING:
    from genjax.comparison.settings import ComparisonSettings
    from genjax.comparison.suites import Suite
    from genjax.comparison.trials import Trials


def compare_runs(path: Path, arguments: list[str]) -> int:
    """Compare the run in ``path`` with those at the beginning of the arguments, whose rest are flags."""
    others, flags = paths_and_flags(arguments)
    paths = [path, *others]
    (options,) = parse(genjax_command("compare", *paths), flags, CompareOptions)
    if options.suite is not None:
        raise ValueError(f"--suite is {options.suite}, but runs are named too; use one of them")
    return _compare(paths, options, genjax_command("compare", *paths, *flags))


def compare_suite(arguments: list[str]) -> int:
    """Train the experiments of a suite, and compare their runs."""
    from genjax.comparison.compare import check_out
    from genjax.comparison.suites import find_suite, read_suite, train_suite
    from genjax.comparison.trials import run_trials

    (options,) = parse(genjax_command("compare"), arguments, CompareOptions)
    suite = read_suite(find_suite(str(options.suite)))
    check_out(options.out)
    _check_trials(suite)
    trained = train_suite(suite, options.out, retry_failed=options.retry_failed, announce=_announcer())
    failures = {each.label or each.name: next(iter(each.failures.values())) for each in trained if not each.runs}
    if len(failures) == len(trained):
        name, reason = next(iter(failures.items()))
        raise ValueError(f"no experiment of {options.suite} could be trained; {name}: {reason}")
    trials = run_trials(trained, _settings(options), options.out, num_seeds=suite.seeds, announce=_announcer())
    paths = [Path(each.chosen.run) for each in trials if each.chosen.run is not None]
    return _compare(paths, options, genjax_command("compare", *arguments), failures=failures, trials=trials)


def _check_trials(suite: Suite) -> None:
    """Raise ValueError before any training if trials on the suite's data cannot be compared."""
    from genjax.cli.flags import flags_of_function
    from genjax.cli.options import TrainOptions
    from genjax.comparison.trials import check_validation
    from genjax.runner import load_experiment_fn

    tried = next((experiment for experiment in suite.experiments if len(experiment.trials) > 1), None)
    if tried is None:
        return
    try:
        function = load_experiment_fn(tried.file)
        flags = [*tried.flags, *tried.trials[0]]
        groups = flags_of_function(function, TrainOptions), TrainOptions
        hyper, _ = parse(genjax_command("train", tried.file), flags, *groups)
        dataset = function(**vars(hyper)).data
    except Exception:  # training will fail in the same way, and its row will say why
        return
    check_validation(dataset)


def _announcer() -> Callable[[str], None]:
    from tqdm import tqdm

    return functools.partial(tqdm.write, file=sys.stderr)


def _settings(options: CompareOptions) -> ComparisonSettings:
    from genjax.comparison.settings import ComparisonSettings

    fields = dataclasses.fields(ComparisonSettings)
    return ComparisonSettings(**{field.name: getattr(options, field.name) for field in fields})


def _compare(
    paths: Sequence[Path],
    options: CompareOptions,
    command: str,
    *,
    failures: Mapping[str, str] = MappingProxyType({}),
    trials: Sequence[Trials] = (),
) -> int:
    from genjax.comparison.compare import compare
    from genjax.compilation import enable_compilation_cache
    from genjax.metrics.progress import no_progress, progress_bars
    from genjax.runner.load import load_experiment

    dataset = load_experiment(paths[0], defer_data=True).data
    for name in ("num_samples", "speed_samples"):
        check_memory(getattr(options, name), dataset, name=name)
    enable_compilation_cache()
    bars = progress_bars() if sys.stderr.isatty() else contextlib.nullcontext(no_progress)
    with bars as progress:
        table = compare(
            paths,
            options.out,
            _settings(options),
            floors=options.floors,
            failures=failures,
            trials=trials,
            retry_failed=options.retry_failed,
            command=command,
            progress=progress,
            announce=_announcer(),
        )
    failed = sum(cell.status == "failed" for cell in table.cells)
    cells = f"{len(table.entries)} entries, {sum(cell.status == 'measured' for cell in table.cells)} numbers"
    print(f"wrote {options.out}: {cells}{f', {failed} failed' if failed else ''}; open {options.out}/report.html")
    return 0
