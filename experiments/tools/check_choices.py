"""Check whether the first choice of ``genjax choose`` on one table is among the best on tables of other data.

    python experiments/tools/check_choices.py toy2d moons/comparison.json pinwheel/comparison.json

For each need, and for the usual needs that all tables have columns for, the first choice of the first table is looked
up in the others, ranked by the same score. A choice is good on a table if it is among the best three.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from genjax.comparison.choosing import NEED_NAMES, USUAL, NeedName, choose, read_table, usual_needs
from genjax.comparison.table import Table

GOOD = 3  # places


def places(first: Table, others: Sequence[Table], needs: Sequence[NeedName]) -> tuple[str, list[int | None]]:
    """Return the first choice, and its place on each other table; None where it is no candidate."""
    name = choose(first, needs)[0].entry.name
    ranked = [[advice.entry.name for advice in choose(table, needs)] for table in others]
    return name, [names.index(name) + 1 if name in names else None for names in ranked]


def main() -> None:
    """Print a line for each need, and for the usual needs together."""
    parser = argparse.ArgumentParser(description="Check first choices on other tables.")
    parser.add_argument("first", help="table that choices are made on")
    parser.add_argument("others", nargs="+", help="tables of other data")
    options = parser.parse_args()
    first, others = read_table(options.first), [read_table(name) for name in options.others]
    usual = tuple(need for need in USUAL if all(need in usual_needs(table) for table in (first, *others)))
    single: list[tuple[NeedName, ...]] = [(name,) for name in NEED_NAMES]
    for needs in [usual, *single]:
        try:
            name, found = places(first, others, needs)
        except ValueError as error:  # a need that the data or their tables cannot answer
            print(f"{', '.join(needs)}: {error}")
            continue
        good = sum(place is not None and place <= GOOD for place in found)
        print(f"{', '.join(needs)}: {name} is at places {found}, {good} of {len(found)} among the best {GOOD}")


if __name__ == "__main__":
    main()
