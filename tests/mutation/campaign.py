"""Plant one mistake at a time in a copy of the package, and run the tests that should notice it.

``mistakes/*.toml`` lists mistakes of the kind that a careful person makes: exact text, its replacement, and the tests
of the file. ``results.json`` holds the last outcome of each mistake that was ever run; the others have not been run.

    python -m tests.mutation.campaign --rooms vae gan --number 20 --record

The quick campaign runs the tests that the list names for a file, ``--thorough`` also all tests of its room and the
contract of the family's models. A mistake is caught if a test fails, and survives if none does; one that makes a test
exceed the time limit is neither.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTS = sorted((Path(__file__).parent / "mistakes").glob("*.toml"))
RESULTS = Path(__file__).with_name("results.json")
PASSED, FAILED, INTERRUPTED = 0, 1, 2  # exit statuses of pytest


@dataclass(frozen=True)
class Mistake:
    """A mistake: ``old``, which occurs once in a file of the package, becomes ``new``."""

    file: str
    kind: str
    old: str
    new: str

    @property
    def room(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py")


@dataclass(frozen=True)
class Outcome:
    """What became of a mistake: "caught", "survived" or "timed out", under "own" tests or those of the "room"."""

    file: str
    kind: str
    old: str
    new: str
    outcome: str
    scope: str
    by: str | None
    seconds: int


@functools.cache
def read() -> tuple[dict[Mistake, tuple[str, ...]], ...]:
    """Return the mistakes of each list with the tests of their file."""
    tables = [tomllib.loads(path.read_text()) for path in LISTS]
    return tuple({Mistake(**row): tuple(table["tests"][row["file"]]) for row in table["mistake"]} for table in tables)


def all_mistakes() -> dict[Mistake, tuple[str, ...]]:
    return {mistake: tests for table in read() for mistake, tests in table.items()}


@functools.cache
def contract_cases(room: str) -> tuple[str, ...]:
    """Return the names of the family's models under the contract."""
    path = ROOT / "tests" / "contract" / "cases" / f"{room}.py"
    return tuple(re.findall(r'Case\(\s*"(\w+)"', path.read_text())) if path.is_file() else ()


def steps(mistake: Mistake, tests: Sequence[str], *, thorough: bool) -> list[list[str]]:
    """Return the arguments of pytest, quick tests first."""
    own, folder = [list(tests)], ROOT / "tests" / mistake.room
    if not thorough:
        return own
    if folder.is_dir():
        own.append([str(folder.relative_to(ROOT))])
    cases = contract_cases(mistake.room)
    if cases:
        own.append(["tests/contract/test_models.py", "-k", " or ".join(f"[{case}]" for case in cases)])
    return own


class Copy:
    """A copy of the package and its tests in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._sound = folder, set()
        for name in ("genjax", "tests", "experiments"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, folder / name)

    @contextlib.contextmanager
    def planted(self, mistake: Mistake) -> Iterator[None]:
        """Plant a mistake for a while."""
        path = self.folder / "genjax" / mistake.file
        text = path.read_text()
        assert text.count(mistake.old) == 1, f"{mistake.file} has {text.count(mistake.old)} times {mistake.old!r}"
        path.write_text(text.replace(mistake.old, mistake.new))
        try:
            yield
        finally:
            path.write_text(text)

    def run(self, arguments: Sequence[str], limit: float) -> tuple[int, str]:
        """Run tests up to the first failure; return pytest's status and the failed test."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", *arguments]
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        return done.returncode, failed[1] if failed else done.stdout[-2_000:]

    def check_sound(self, arguments: Sequence[str], limit: float) -> None:
        """Raise if tests fail without any mistake, once for each set of tests."""
        if tuple(arguments) not in self._sound:
            status, failed = self.run(arguments, limit)
            if status != PASSED:
                raise RuntimeError(f"{' '.join(arguments)} fails without a mistake: {failed}")
            self._sound.add(tuple(arguments))

    def judge(self, mistake: Mistake, tests: Sequence[str], *, thorough: bool, limit: float) -> Outcome:
        """Plant a mistake and run its tests, each set for at most ``limit`` seconds."""
        begin, outcome, by, scope = time.monotonic(), "survived", None, "room" if thorough else "own"
        for arguments in steps(mistake, tests, thorough=thorough):
            self.check_sound(arguments, limit)
            with self.planted(mistake):
                try:
                    status, failed = self.run(arguments, limit)
                except subprocess.TimeoutExpired:
                    outcome = "timed out"
                    continue
            if status in (FAILED, INTERRUPTED):
                outcome, by, scope = "caught", failed, "own" if arguments == list(tests) else "room"
                break
            assert status == PASSED, failed
        return Outcome(**asdict(mistake), outcome=outcome, scope=scope, by=by, seconds=round(time.monotonic() - begin))


def campaign(mistakes: Sequence[Mistake], *, thorough: bool = False, limit: float = 600) -> Iterator[Outcome]:
    """Judge mistakes one after the other."""
    tests = all_mistakes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for mistake in mistakes:
            yield copy.judge(mistake, tests[mistake], thorough=thorough, limit=limit)


def recorded() -> dict[Mistake, Outcome]:
    """Return the last outcomes."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    outcomes = [Outcome(**row) for row in rows]
    return {Mistake(o.file, o.kind, o.old, o.new): o for o in outcomes}


def record(outcome: Outcome) -> None:
    """Keep an outcome in ``results.json``, in the order of the lists."""
    outcomes = recorded() | {Mistake(outcome.file, outcome.kind, outcome.old, outcome.new): outcome}
    rows = [asdict(outcomes[mistake]) for mistake in all_mistakes() if mistake in outcomes]
    RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="*", help="rooms, such as vae; all by default")
    parser.add_argument("--files", nargs="*", help="files, such as vae/vae.py; all by default")
    parser.add_argument("--number", type=int, help="number of mistakes, drawn at random; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw")
    parser.add_argument("--outcome", nargs="*", help="only mistakes with this recorded outcome, or 'none'")
    parser.add_argument("--thorough", action="store_true", help="run the tests of the room and the contract, too")
    parser.add_argument("--limit", type=float, default=600, help="time limit of a set of tests in seconds")
    parser.add_argument("--record", action="store_true", help="write the outcomes to results.json")
    options = parser.parse_args()
    outcomes = recorded()
    chosen = [
        mistake
        for mistake in all_mistakes()
        if options.rooms is None or mistake.room in options.rooms
        if options.files is None or mistake.file in options.files
        if options.outcome is None or (outcomes[mistake].outcome if mistake in outcomes else "none") in options.outcome
    ]
    if options.number is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.number, len(chosen)))
        chosen.sort(key=lambda mistake: mistake.file)
    for outcome in campaign(chosen, thorough=options.thorough, limit=options.limit):
        print(
            f"{outcome.outcome:10}{outcome.seconds:4} s  {outcome.file}: {outcome.old!r} -> {outcome.new!r}", flush=True
        )
        print(f"                 {outcome.by}", flush=True)
        if options.record:
            record(outcome)


if __name__ == "__main__":
    main()
