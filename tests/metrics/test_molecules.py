"""Molecules: validity, equality, and the three fractions, computed by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from genjax import metrics

pytest.importorskip("rdkit", reason='molecules are read by RDKit: pip install "genjax-models[molecules]"')


@pytest.mark.parametrize(
    "same",
    [
        ("CCO", "OCC", "C(O)C", "[CH3][CH2][OH]"),
        ("c1ccccc1", "C1=CC=CC=C1", "C=1C=CC=CC1"),
        ("C.O", "O.C"),
        ("C[C@H](F)O", "C[C@@H](O)F", "O[C@H](C)F"),
    ],
)
def test_spellings_of_one_molecule_are_one(same):
    assert len(set(metrics.canonical_smiles(same))) == 1
    assert None not in metrics.canonical_smiles(same)


@pytest.mark.parametrize(
    "different",
    [
        ("CCO", "COC"),
        ("C[C@H](F)O", "C[C@@H](F)O", "CC(F)O"),
        ("C/C=C/C", "C/C=C\\C"),
        ("NCC(=O)O", "[NH3+]CC(=O)[O-]"),
        ("C", "[13CH4]"),
    ],
)
def test_isomers_charges_and_isotopes_are_told_apart(different):
    assert len(set(metrics.canonical_smiles(different)) - {None}) == len(different)


NO_MOLECULES = ("", " ", "C1CC", "C(", "C)", "F(C)C", "CC(C)(C)(C)C", "c1cccc1", "[N", "not SMILES", "�")
MORE_THAN_A_MOLECULE = ("C C", "C ", " C", "C\n", "C\nC", "C\tC", "C\0", "C |$C$|")


@pytest.mark.parametrize("text", NO_MOLECULES + MORE_THAN_A_MOLECULE)
def test_what_is_no_molecule(text):
    """Test unclosed rings and parentheses, impossible valences and aromatic rings, and other texts."""
    assert metrics.canonical_smiles([text]) == [None]


def test_shares_by_hand():
    samples = metrics.canonical_smiles(["CCO", "OCC", "C", "CC", "CC", "CC", "C=C", "C#", "", "C1"])
    values = metrics.molecule_statistics(samples, metrics.canonical_smiles(["C(O)C", "C", "CCC", "C1"]))
    assert (values["valid"], values["distinct"]) == (7, 4)
    assert (values["validity"], values["uniqueness"], values["novelty"]) == (7 / 10, 4 / 7, 2 / 4)
    error = np.std([1] * 7 + [0] * 3, ddof=1) / 10**0.5
    assert math.isclose(values["validity_standard_error"], error)


def test_where_nothing_is_valid_nothing_is_unique_or_new():
    values = metrics.molecule_statistics([None, None], ["C"])
    assert (values["validity"], values["validity_standard_error"]) == (0, 0)
    assert math.isnan(values["uniqueness"])
    assert math.isnan(values["novelty"])
    with pytest.raises(ValueError, match="no samples; give at least one"):
        metrics.molecule_statistics([], ["C"])


def test_rdkit_is_silent_while_it_reads_and_not_after(capfd):
    from rdkit import Chem

    metrics.canonical_smiles(["C1", "F(C)C"])
    assert capfd.readouterr() == ("", "")
    Chem.MolFromSmiles("C1")
    assert "unclosed ring" in capfd.readouterr().err


def test_without_rdkit_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    for function in (metrics.rdkit_version, lambda: metrics.canonical_smiles(["C"])):
        with pytest.raises(ImportError, match=r'pip install "genjax-models\[molecules\]"'):
            function()
