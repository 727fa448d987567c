"""Rank correlation of every column of two tables of one suite, trained with other seeds.

    python experiments/tools/rank_correlation.py first/comparison.json second/comparison.json

A column with other ranks in the second table says little about the models. Floors and failed cells do not count.
``add_table.py FOLDER NAME --second second/comparison.json`` keeps the correlations in the table.
"""

from __future__ import annotations

import argparse

from scipy.stats import spearmanr

from genjax.comparison.choosing import read_table
from genjax.comparison.table import REPEATS, Table


def correlations(first: Table, second: Table) -> dict[str, tuple[float, int]]:
    """Return the correlation and the number of models with both values, for columns with at least three."""
    models = [entry.name for entry in first.entries if entry.kind == "model"]
    by_name = {}
    for column in first.columns:
        one, other = first.values(column.name), second.values(column.name)
        both = [name for name in models if name in one and name in other]
        pair = [[values[name] for name in both] for values in (one, other)]
        if len(both) >= 3 and all(len(set(values)) > 1 for values in pair):  # equal values have no ranks
            value, _ = spearmanr(pair[0], pair[1])
            by_name[column.name] = (float(value), len(both))  # pyright: ignore[reportArgumentType]
    return by_name


def main() -> None:
    """Print a line for each column."""
    parser = argparse.ArgumentParser(description="Compare the ranks of two tables.")
    parser.add_argument("first", help="comparison.json of the first run")
    parser.add_argument("second", help="comparison.json of the second run")
    options = parser.parse_args()
    for name, (value, count) in correlations(read_table(options.first), read_table(options.second)).items():
        print(f"{name}: {value:.2f} over {count} models{'' if value >= REPEATS else ', noise'}")


if __name__ == "__main__":
    main()
