"""Claims of overviews, judged by the numbers of a comparison.

``claims.toml`` has what an overview says, in our words, where it says so, and a predicate over a table. A verdict is
"confirmed", "refuted" or "undecided"; it holds for the data, the budget and the models of that table alone. Entries are
selected by family ("gan"), by model ("gan.StyleGAN2") or by a pattern of their name ("name:wgan*"), and the column of a
likelihood by its guarantee ("likelihood:exact"). Predicates are

* ``better``: entries against others in one column. The effect is the probability that a run of one is better than a run
  of the other, plus half of that of a tie. From 0.71 on it is large, and the claim is confirmed; up to 0.29 it is
  refuted.
* ``level``: the median of entries in one column, on one side of a limit.
* ``has``: whether entries have a likelihood of some kind: exact, a bound, or an estimate.
* ``no_winner``: whether no family has the best entry in every one of several columns.
* ``unrelated``: whether the rank correlation of two columns over all models is between −0.5 and 0.5.

Effect and its limits: András Vargha and Harold Delaney 2000, "A critique and improvement of the CL common language
effect size statistics of McGraw and Wong".
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.resources
import itertools
import statistics
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final, get_args

import numpy as np

from genjax.arguments import check_arguments
from genjax.comparison.table import Cell, Column, Entry, Table

Verdict = Literal["confirmed", "refuted", "undecided"]
Predicate = Literal["better", "level", "has", "no_winner", "unrelated"]
LARGE = 0.71  # Vargha and Delaney 2000
CORRELATED = 0.5
MIN_ENTRIES = 5  # of a correlation
NOTE = "What overviews say, judged by this table alone: its data, its budget and its models."


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Source:
    """An overview.

    Attributes:
      title: its title.
      authors: its authors; empty if it names none.
      year: year of publication; None if it names none.
      link: arXiv id, DOI or address.
    """

    title: str
    link: str
    authors: str = ""
    year: int | None = None

    def __str__(self) -> str:
        """Return title, authors, year and link in one line."""
        parts = (f"“{self.title}”", self.authors, "" if self.year is None else str(self.year), self.link)
        return ", ".join(part for part in parts if part)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Claim:
    """What an overview says, as a predicate over a table.

    Attributes:
      sentence: what the overview says, in our words.
      source: where it stands.
      predicate: kind of the predicate.
      of: selectors of the entries that the claim is about.
      than: selectors of the entries that they are compared with; empty for all other models.
      columns: columns that are read; for "has" none.
      at_most: largest value that "level" accepts.
      at_least: smallest value that "level" accepts.
      guarantee: guarantee of the likelihood of "has": "exact", "bound" or "estimate"; None for any.
      negated: whether the sentence says the opposite of the predicate.
    """

    sentence: str
    source: Source
    predicate: Predicate
    of: tuple[str, ...] = ()
    than: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    at_most: float | None = None
    at_least: float | None = None
    guarantee: Literal["exact", "bound", "estimate"] | None = None
    negated: bool = False

    def __post_init__(self) -> None:
        needed = {"better": 1, "level": 1, "has": 0, "no_winner": 2, "unrelated": 2}[self.predicate]
        if len(self.columns) < needed:
            raise ValueError(
                f"the claim {self.sentence!r} has columns {self.columns}, but {self.predicate!r} needs {needed}"
            )
        if (self.predicate == "level") != ((self.at_most is None) != (self.at_least is None)):
            raise ValueError(f"the claim {self.sentence!r} needs exactly one of at_most and at_least for 'level'")


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a claim.

    Attributes:
      claim: the claim.
      verdict: whether the table confirms it.
      reason: the numbers; for an undecided claim without numbers, what is missing.
      effect: number that decides; None without numbers.
    """

    claim: Claim
    verdict: Verdict
    reason: str
    effect: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the judgement for JSON."""
        return asdict(self)


@functools.cache
def read_claims() -> tuple[Claim, ...]:
    """Return the claims of ``claims.toml``."""
    text = importlib.resources.files("genjax.comparison").joinpath("claims.toml").read_text("utf-8")
    content = tomllib.loads(text)
    sources = {name: Source(**entry) for name, entry in content["source"].items()}
    claims = []
    for entry in content["claim"]:
        lists = {name: tuple(entry[name]) for name in ("of", "than", "columns") if name in entry}
        claims.append(Claim(**{**entry, **lists, "source": sources[entry["source"]]}))
    return tuple(claims)


def judge(claim: Claim, table: Table) -> Judgement:
    """Return the verdict of a table on a claim.

    >>> column = Column(name="fd", title="FD", group="quality", source="frechet_distance", higher_is_better=False)
    >>> entries = tuple(Entry(name=name, kind="model", model=name, family=name) for name in ("vae", "gan"))
    >>> cells = tuple(Cell(entry=name, column="fd", value=value) for name, value in (("vae", 9.0), ("gan", 4.0)))
    >>> source = Source(title="An overview", link="arXiv:0000.00000")
    >>> claim = Claim(sentence="…", source=source, predicate="better", of=("gan",), than=("vae",), columns=("fd",))
    >>> judgement = judge(claim, Table(columns=(column,), entries=entries, cells=cells))
    >>> judgement.verdict, judgement.reason
    ('confirmed', 'FD: median 4 of 1 entry, 9 of 1 other; better with probability 1.00')
    """
    columns = []
    for name in claim.columns:
        column = find_column(table, name)
        if column is None:
            return Judgement(claim=claim, verdict="undecided", reason=f"the table has no column {name}")
        columns.append(column)
    verdict, reason, effect = _PREDICATES[claim.predicate](claim, table, columns)
    if claim.negated:
        verdict = _OPPOSITE[verdict]
    return Judgement(claim=claim, verdict=verdict, reason=reason, effect=effect)


_OPPOSITE: Mapping[Verdict, Verdict] = {"confirmed": "refuted", "refuted": "confirmed", "undecided": "undecided"}
_Outcome = tuple[Verdict, str, float | None]


def _better(claim: Claim, table: Table, columns: Sequence[Column]) -> _Outcome:
    (column,) = columns
    ours = _select(table, claim.of)
    others = _select(table, claim.than) if claim.than else [e for e in _models(table) if e not in ours]
    mine = _measured(table, column, ours)
    theirs = _measured(table, column, [entry for entry in others if entry not in ours])
    if not mine or not theirs:
        return _missing(claim, column, mine)
    effect = statistics.fmean(
        _superiority(_runs(one), _runs(other), column.sign) for one, other in itertools.product(mine, theirs)
    )
    verdict: Verdict = "undecided"
    if effect >= LARGE:
        verdict = "confirmed"
    elif effect <= 1 - LARGE:
        verdict = "refuted"
    reason = f"{column.title}: median {_median(mine):.4g} of {_count(mine, 'entry', 'entries')}, "
    reason += f"{_median(theirs):.4g} of {_count(theirs, 'other', 'others')}; better with probability {effect:.2f}"
    return verdict, reason, effect


def _level(claim: Claim, table: Table, columns: Sequence[Column]) -> _Outcome:
    (column,) = columns
    cells = _measured(table, column, _select(table, claim.of))
    if not cells:
        return _missing(claim, column, cells)
    value = _median(cells)
    limit, is_upper = (claim.at_most, True) if claim.at_most is not None else (claim.at_least, False)
    assert limit is not None
    holds = value <= limit if is_upper else value >= limit
    reason = f"{column.title}: median {value:.4g} of {_count(cells, 'entry', 'entries')}, the claim needs "
    return "confirmed" if holds else "refuted", f"{reason}{'at most' if is_upper else 'at least'} {limit:g}", value


def _has(claim: Claim, table: Table, columns: Sequence[Column]) -> _Outcome:
    del columns
    entries = _select(table, claim.of)
    guarantees = {column.name: column.guarantee for column in table.columns if column.group == "likelihood"}
    wanted = [name for name, kind in guarantees.items() if claim.guarantee is None or _ends(kind, claim.guarantee)]
    cells = {entry.name: [table.cell(entry.name, name) for name in guarantees] for entry in entries}
    known = [name for name, each in cells.items() if each and not any(c.status in ("failed", "pending") for c in each)]
    if not known:
        return "undecided", f"no entry of {', '.join(claim.of)} was measured", None
    having = [name for name in known if any(table.cell(name, column).value is not None for column in wanted)]
    kind = f"a likelihood that is {claim.guarantee}" if claim.guarantee else "a likelihood"
    share = len(having) / len(known)
    verdict: Verdict = "confirmed" if share == 1 else "refuted" if share == 0 else "undecided"
    return verdict, f"{len(having)} of {len(known)} entries have {kind}", share


def _no_winner(claim: Claim, table: Table, columns: Sequence[Column]) -> _Outcome:
    del claim
    winners: dict[str, str] = {}
    families = {entry.name: entry.family for entry in _models(table) if entry.family}
    for column in columns:
        values = {name: value for name, value in table.values(column.name).items() if name in families}
        if len({families[name] for name in values}) > 1:
            best = max(values, key=lambda name: column.sign * values[name])
            winners[column.title] = families[best]
    if len(winners) < 2:
        return "undecided", "fewer than two columns have values of several families", None
    reason = ", ".join(f"{title}: {family}" for title, family in winners.items())
    count = len(set(winners.values()))
    return "confirmed" if count > 1 else "refuted", f"best in {reason}", float(count)


def _unrelated(claim: Claim, table: Table, columns: Sequence[Column]) -> _Outcome:
    del claim
    first, second = columns
    pairs = [(table.cell(e.name, first.name).value, table.cell(e.name, second.name).value) for e in _models(table)]
    both = np.asarray([pair for pair in pairs if None not in pair], float)
    if len(both) < MIN_ENTRIES:
        return "undecided", f"{len(both)} entries have both columns, {MIN_ENTRIES} are needed", None
    ranks = [_ranks(column.sign * values) for column, values in zip(columns, both.T, strict=True)]
    if min(np.std(each) for each in ranks) == 0:
        return "undecided", "all entries have the same value in a column", None
    effect = float(np.corrcoef(ranks)[0, 1])
    verdict: Verdict = "confirmed" if abs(effect) < CORRELATED else "refuted"
    return (
        verdict,
        f"rank correlation of {first.title} and {second.title} over {len(both)} entries {effect:.2f}",
        effect,
    )


_PREDICATES: Mapping[str, Callable[[Claim, Table, Sequence[Column]], _Outcome]] = dict(
    zip(get_args(Predicate), (_better, _level, _has, _no_winner, _unrelated), strict=True)
)


def find_column(table: Table, name: str) -> Column | None:
    """Return the column of a name, or the first whose likelihood has a guarantee."""
    group, _, guarantee = name.rpartition(":")
    for column in table.columns:
        is_likelihood = column.group == group == "likelihood" and not column.given
        if column.name == name or (is_likelihood and _ends(column.guarantee, guarantee)):
            return column
    return None


def _models(table: Table) -> list[Entry]:
    return [entry for entry in table.entries if entry.kind == "model"]


def _select(table: Table, selectors: Sequence[str]) -> list[Entry]:
    """Return the models that a selector names."""
    return [entry for entry in _models(table) if any(_matches(entry, selector) for selector in selectors)]


def _matches(entry: Entry, selector: str) -> bool:
    if selector.startswith("name:"):
        return fnmatch.fnmatchcase(entry.name, selector.removeprefix("name:"))
    family, _, model = selector.partition(".")
    return entry.family == family and (not model or entry.model == model)


def _measured(table: Table, column: Column, entries: Sequence[Entry]) -> list[Cell]:
    cells = [table.cell(entry.name, column.name) for entry in entries]
    return [cell for cell in cells if cell.value is not None]


def _runs(cell: Cell) -> Sequence[float]:
    assert cell.value is not None
    return cell.replicas or (cell.value,)


def _superiority(ours: Sequence[float], theirs: Sequence[float], sign: int) -> float:
    """Return the probability that a value of ours is better, plus half of that of a tie."""
    wins = [(sign * (one - other) > 0) + 0.5 * (one == other) for one, other in itertools.product(ours, theirs)]
    return statistics.fmean(wins)


def _median(cells: Sequence[Cell]) -> float:
    return statistics.median(cell.value for cell in cells if cell.value is not None)


def _count(cells: Sequence[Cell], one: str, many: str) -> str:
    return f"{len(cells)} {one if len(cells) == 1 else many}"


def _missing(claim: Claim, column: Column, ours: Sequence[Cell]) -> _Outcome:
    selectors = claim.than if ours and claim.than else claim.of
    who = "other models" if ours and not claim.than else f"entries of {', '.join(selectors)}"
    return "undecided", f"no {who} have {column.title}", None


def _ends(guarantee: str | None, wanted: str) -> bool:
    return guarantee is not None and guarantee.endswith(wanted)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values, the mean of theirs for ties."""
    return np.asarray([(np.sum(values < value) + np.sum(values <= value) - 1) / 2 for value in values])
