"""Claims: every one can be confirmed, refuted and left undecided by a made-up table, and effects have known values."""

import dataclasses

import jax
import pytest

import genjax
from genjax.comparison.claims import Claim, Source, judge, read_claims
from genjax.comparison.columns import columns
from genjax.comparison.table import Cell, Column, Entry, Table
from genjax.comparison.trials import COLUMNS
from genjax.data import digits, synthetic

CLAIMS = read_claims()
SOURCE = Source(title="An overview", link="arXiv:0000.00000")
FAMILIES = ("vae", "gan", "flow", "diffusion", "autoregressive", "energy", "boltzmann", "moment_matching")
FD = Column(name="fd", title="FD", group="quality", source="frechet_distance", higher_is_better=False)
SPEED = Column(name="speed", title="speed", group="speed", source="speed", higher_is_better=True)


def _entry(selector, number=0):
    """Return an entry that a selector names."""
    if selector.startswith("name:"):
        return Entry(name=selector.removeprefix("name:").replace("*", ""), kind="model", model="GAN", family="gan")
    family, _, model = selector.partition(".")
    return Entry(name=f"{family} {model} {number}", kind="model", model=model or "Model", family=family)


def _entries(selectors):
    return [_entry(selector) for selector in selectors]


def _others(claim):
    """Return entries that the claim does not select."""
    if claim.than:
        return _entries(claim.than)
    return [_entry(f, 1) for f in FAMILIES if not any(s.split(".")[0] == f for s in claim.of)]


@pytest.fixture(scope="module")
def all_columns():
    """Return the columns of labelled images, of points, and of trials, by name."""
    points = synthetic.dataset(synthetic.GaussianGrid(), jax.random.key(0), num_train=20, num_test=5)
    return {column.name: column for column in (*columns(points), *columns(digits()), *COLUMNS)}


def _table(all_columns, names, rows):
    """Return a table of values by entry."""
    by_name = {}
    for name in names:
        guarantee = name.partition(":")[2]
        by_name[name] = all_columns.get(name) or next(
            c for c in all_columns.values() if c.guarantee and c.guarantee.endswith(guarantee) and not c.given
        )
    cells = [
        Cell(entry=entry.name, column=by_name[name].name, value=value)
        if value is not None
        else Cell(entry=entry.name, column=by_name[name].name, status="none")
        for entry, values in rows
        for name, value in zip(names, values, strict=True)
    ]
    return Table(
        columns=tuple(dict.fromkeys(by_name.values())),
        entries=tuple({entry.name: entry for entry, _ in rows}.values()),
        cells=tuple({(cell.entry, cell.column): cell for cell in cells}.values()),
    )


def _cases(claim, all_columns):
    """Return a table that supports the predicate, and one that contradicts it."""
    if claim.predicate == "better":
        ours, others = _entries(claim.of), _others(claim)
        high = _table(all_columns, claim.columns, [(e, (2.0 if e in ours else 1.0,)) for e in (*others, *ours)])
        low = _table(all_columns, claim.columns, [(e, (1.0 if e in ours else 2.0,)) for e in (*others, *ours)])
        return (high, low) if high.columns[0].higher_is_better else (low, high)
    if claim.predicate == "level":
        limit = claim.at_most if claim.at_most is not None else claim.at_least
        tables = [
            _table(all_columns, claim.columns, [(entry, (value,)) for entry in _entries(claim.of)])
            for value in (limit - 0.01, limit + 0.01)
        ]
        return tables if claim.at_most is not None else tables[::-1]
    if claim.predicate == "has":
        names = ["likelihood:exact", "likelihood:estimate"]
        return [
            _table(all_columns, names, [(entry, values) for entry in _entries(claim.of)])
            for values in ((1.0, None), (None, None))
        ]
    families = [_entry(family) for family in FAMILIES]
    count = len(claim.columns)
    if claim.predicate == "no_winner":
        signs = [1 if all_columns[name].higher_is_better else -1 for name in claim.columns]
        one = [(e, tuple(s * (i == 0) for s in signs)) for i, e in enumerate(families)]
        shared = [(e, tuple(s * (i == j) for j, s in enumerate(signs))) for i, e in enumerate(families)]
        return _table(all_columns, claim.columns, shared), _table(all_columns, claim.columns, one)
    mixed = [(e, (float(i), float(v))) for i, (e, v) in enumerate(zip(families, (0, 7, 2, 5, 6, 1, 4, 3), strict=True))]
    equal = [(e, (float(i),) * count) for i, e in enumerate(families)]
    return _table(all_columns, claim.columns, mixed), _table(all_columns, claim.columns, equal)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.sentence)
def test_every_claim_has_three_verdicts(claim, all_columns):
    supporting, contradicting = _cases(claim, all_columns)
    verdicts = ("refuted", "confirmed") if claim.negated else ("confirmed", "refuted")
    assert (judge(claim, supporting).verdict, judge(claim, contradicting).verdict) == verdicts
    empty = judge(claim, Table(columns=tuple(all_columns.values()), entries=(), cells=()))
    assert (empty.verdict, empty.effect) == ("undecided", None)


def test_claims_are_many_of_many_sources_and_each_is_there_once():
    sources = {claim.source for claim in CLAIMS}
    assert len(CLAIMS) >= 40 and len(sources) >= 20
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)
    most = max(sum(claim.source == source for claim in CLAIMS) for source in sources)
    assert most <= len(CLAIMS) / 4


def test_selected_families_and_models_exist():
    for claim in CLAIMS:
        for selector in (*claim.of, *claim.than):
            if not selector.startswith("name:"):
                family, _, model = selector.partition(".")
                module = getattr(genjax, family)
                assert not model or hasattr(module, model), selector


def _two(ours, theirs, **settings):
    """Judge one entry against another, by their replicas."""
    entries = (_entry("vae"), _entry("gan"))
    cells = tuple(
        Cell(entry=entry.name, column="fd", value=sum(values) / len(values), replicas=values)
        for entry, values in zip(entries, (ours, theirs), strict=True)
    )
    claim = Claim(sentence="…", source=SOURCE, predicate="better", of=("vae",), columns=("fd",), **settings)
    return judge(claim, Table(columns=(FD,), entries=entries, cells=cells))


def test_the_effect_is_the_probability_of_being_better():
    # Of nine pairs, ours is lower in 4, equal in 2: (4 + 2 / 2) / 9.
    assert _two((1.0, 3.0, 5.0), (1.0, 3.0, 4.0)).effect == pytest.approx(
        ((0.5 + 1 + 1) + (0 + 0.5 + 1) + (0 + 0 + 0)) / 9
    )


@pytest.mark.parametrize(
    ("share", "verdict"), [(71, "confirmed"), (70, "undecided"), (30, "undecided"), (29, "refuted")]
)
def test_verdicts_begin_at_a_large_effect(share, verdict):
    ours = tuple([0.0] * share + [2.0] * (100 - share))
    judgement = _two(ours, (1.0, 1.0))
    assert judgement.effect == pytest.approx(share / 100)
    assert judgement.verdict == verdict
    opposite = {"confirmed": "refuted", "refuted": "confirmed"}
    assert _two(ours, (1.0, 1.0), negated=True).verdict == opposite.get(verdict, verdict)


def test_floors_are_no_models_and_failed_cells_no_values():
    entries = (_entry("vae"), dataclasses.replace(_entry("gan"), kind="floor"))
    cells = tuple(Cell(entry=entry.name, column="fd", value=1.0) for entry in entries)
    claim = Claim(sentence="…", source=SOURCE, predicate="better", of=("vae",), columns=("fd",))
    judgement = judge(claim, Table(columns=(FD,), entries=entries, cells=cells))
    assert (judgement.verdict, judgement.reason) == ("undecided", "no other models have FD")
    failed = (cells[0], Cell(entry=entries[1].name, column="fd", status="failed", reason="no memory"))
    other = dataclasses.replace(claim, than=("gan",))
    entries = (entries[0], _entry("gan"))
    judgement = judge(other, Table(columns=(FD,), entries=entries, cells=failed))
    assert (judgement.verdict, judgement.reason) == ("undecided", "no entries of gan have FD")


def test_rank_correlation_takes_the_direction_of_columns():
    entries = [_entry(family) for family in FAMILIES]
    cells = [Cell(entry=e.name, column="fd", value=float(i)) for i, e in enumerate(entries)]
    cells += [Cell(entry=e.name, column="speed", value=float(i)) for i, e in enumerate(entries)]
    claim = Claim(sentence="…", source=SOURCE, predicate="unrelated", columns=("fd", "speed"))
    judgement = judge(claim, Table(columns=(FD, SPEED), entries=tuple(entries), cells=tuple(cells)))
    assert judgement.effect == pytest.approx(-1.0)  # the fastest is the worst
    few = judge(claim, Table(columns=(FD, SPEED), entries=tuple(entries[:4]), cells=tuple(cells)))
    assert (few.verdict, few.reason) == ("undecided", "4 entries have both columns, 5 are needed")


def test_ties_have_the_mean_of_their_ranks():
    entries = [_entry(family) for family in FAMILIES[:5]]
    columns = {"fd": (0.0, 0.0, 1.0, 2.0, 3.0), "speed": (0.0, 1.0, 2.0, 3.0, 4.0)}
    cells = [
        Cell(entry=entry.name, column=name, value=value)
        for name, values in columns.items()
        for entry, value in zip(entries, values, strict=True)
    ]
    claim = Claim(sentence="…", source=SOURCE, predicate="unrelated", columns=("fd", "speed"))
    judgement = judge(claim, Table(columns=(FD, SPEED), entries=tuple(entries), cells=tuple(cells)))
    assert judgement.effect == pytest.approx(-9.5 / 95**0.5)  # Pearson's of ranks ½, ½, 2, 3, 4 and 0 … 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"predicate": "better"}, "needs 1"),
        ({"predicate": "no_winner", "columns": ("fd",)}, "needs 2"),
        ({"predicate": "level", "columns": ("fd",)}, "exactly one of at_most and at_least"),
        ({"predicate": "level", "columns": ("fd",), "at_most": 1.0, "at_least": 0.0}, "exactly one of"),
        ({"predicate": "better", "columns": ("fd",), "at_most": 1.0}, "exactly one of"),
    ],
)
def test_claims_without_what_their_predicate_needs_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Claim(sentence="…", source=SOURCE, **settings)
