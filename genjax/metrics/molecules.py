"""Molecules among texts: how many are valid, how many of these differ, how many of those are new.

Let N texts be drawn, V the molecules that RDKit reads in them, as often as they are drawn, D the different ones of V,
and T those of the training set. Then

    validity = |V| / N,        uniqueness = |D| / |V|,        novelty = |D ∖ T| / |D|.                           (1)

A text is a molecule where it is SMILES that RDKit parses and sanitizes: rings close, valences are possible, aromatic
rings have a Kekulé structure. One without atoms is none, nor is one that something else follows. Several parts, "C.O",
are one molecule. Molecules are the same where their canonical SMILES are; these tell stereoisomers and charges apart.

Validity is that of GuacaMol (Nathan Brown, Marco Fiscato, Marwin Segler and Alain Vaucher, 2019, arXiv:1811.09621),
uniqueness and novelty are those of MOSES (Daniil Polykovskiy et al., 2020, arXiv:1811.12823), uniqueness among all that
are valid in place of the first 1,000 or 10,000. GuacaMol draws until there are 10,000 for each, and leaves
stereochemistry out. Uniqueness falls as N grows. None of the three says that samples are distributed as the data: a
model that only ever lengthens a chain of carbon has all of them at one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any


def canonical_smiles(texts: Iterable[str]) -> list[str | None]:
    """Return the canonical SMILES of each text, None for those that are no molecule.

    Args:
      texts: read one after the other, so that they may still be in the making.

    Raises:
      ImportError: without RDKit.

    >>> canonical_smiles(["OCC", "C1=CC=CC=C1", "C1CC", "F(C)C", ""])
    ['CCO', 'c1ccccc1', None, None, None]
    """
    rdkit, canonical = _library(), []
    with rdkit.rdBase.BlockLogs():  # of why a text is no molecule, a line for each
        for text in texts:
            # RDKit reads up to a blank or a line's end, and would take what merely begins as a molecule for one.
            whole = text.isprintable() and " " not in text
            molecule = rdkit.MolFromSmiles(text) if whole else None
            canonical.append(None if molecule is None else rdkit.MolToSmiles(molecule) or None)
    return canonical


def molecule_statistics(samples: Sequence[str | None], training: Iterable[str | None]) -> dict[str, float]:
    """Count molecules by their canonical SMILES, None for texts that are none.

    Args:
      samples: what was drawn, N.
      training: the training set.

    Returns:
      ``validity``, ``uniqueness`` and ``novelty`` of equation 1, in [0, 1], the last two NaN where nothing is valid;
      ``validity_standard_error``, NaN for a single sample; the counts ``valid`` and ``distinct``, |V| and |D|.

    Raises:
      ValueError: for no samples.

    >>> molecule_statistics(["CCO", "C", "C", None], training=["C", "CC"])
    {'validity': 0.75, 'validity_standard_error': 0.25, 'uniqueness': 0.6666666666666666, 'novelty': 0.5, \
'valid': 3, 'distinct': 2}
    """
    if not samples:
        raise ValueError("there are no samples; give at least one")
    valid = [smiles for smiles in samples if smiles is not None]
    distinct = set(valid)
    validity = _share(len(valid), len(samples))
    return {
        "validity": validity,
        "validity_standard_error": math.sqrt(_share(validity * (1 - validity), len(samples) - 1)),
        "uniqueness": _share(len(distinct), len(valid)),
        "novelty": _share(len(distinct.difference(training)), len(distinct)),
        "valid": len(valid),
        "distinct": len(distinct),
    }


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def rdkit_version() -> str:
    """Return the release of RDKit, which decides what is valid; ImportError without it."""
    return _library().rdBase.rdkitVersion


def _library() -> Any:
    try:
        from rdkit import Chem
    except ImportError:
        raise ImportError('molecules need rdkit; pip install "genjax-models[molecules]"') from None
    return Chem
