"""Validity, uniqueness and novelty of molecules generated as SMILES.

Let N be the number of samples, V the multiset of valid molecules among them, D the set of distinct molecules of V, and
T the set of training molecules. Then

    validity = |V| / N,        uniqueness = |D| / |V|,        novelty = |D ∖ T| / |D|.                           (1)

A text is valid if it is SMILES that RDKit parses and sanitizes: rings close, valences are possible, aromatic rings have
a Kekulé structure. A text without atoms, or with anything after the SMILES, is invalid. Several parts, "C.O", count as
one molecule. Molecules are equal if their canonical SMILES are equal, which distinguish stereoisomers and charges.

Validity follows GuacaMol (Nathan Brown, Marco Fiscato, Marwin Segler and Alain Vaucher, 2019, arXiv:1811.09621);
uniqueness and novelty follow MOSES (Daniil Polykovskiy et al., 2020, arXiv:1811.12823), except that uniqueness uses all
valid molecules instead of the first 1,000 or 10,000. GuacaMol draws until it has 10,000 of each, and ignores
stereochemistry. Uniqueness falls as N grows. None of the three measures whether samples follow the distribution of the
data: a model that only lengthens a carbon chain scores one in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from genjax.arguments import check_arguments


@check_arguments
def canonical_smiles(texts: Iterable[str]) -> list[str | None]:
    """Return the canonical SMILES of each text, None for invalid ones; raise ImportError without RDKit.

    >>> canonical_smiles(["OCC", "C1=CC=CC=C1", "C1CC", "F(C)C", ""])
    ['CCO', 'c1ccccc1', None, None, None]
    """
    rdkit, canonical = _library(), []
    with rdkit.rdBase.BlockLogs():  # one line for each invalid text
        for text in texts:
            # RDKit stops at a blank or the end of a line, and would accept a text that merely begins with a molecule.
            single = text.isprintable() and " " not in text
            molecule = rdkit.MolFromSmiles(text) if single else None
            canonical.append(None if molecule is None else rdkit.MolToSmiles(molecule) or None)
    return canonical


@check_arguments
def molecule_statistics(samples: Sequence[str | None], training: Iterable[str | None]) -> dict[str, float]:
    """Return validity, uniqueness and novelty of one or more molecules, canonical SMILES or None if invalid.

    Returns:
      ``validity``, ``uniqueness`` and ``novelty`` (1), in [0, 1], the last two NaN if no sample is valid;
      ``validity_standard_error``, NaN for a single sample; and the counts ``valid`` and ``distinct``, |V| and |D|.

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
    """Return the version of RDKit, which decides what is valid; raise ImportError without it."""
    return _library().rdBase.rdkitVersion


def _library() -> Any:
    try:
        from rdkit import Chem
    except ImportError:
        raise ImportError('molecules need rdkit; pip install "genjax-models[molecules]"') from None
    return Chem
