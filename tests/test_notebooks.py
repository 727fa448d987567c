"""Every notebook runs from top to bottom."""

from pathlib import Path

import pytest

# This one runs by default, the others with -m slow.
REPRESENTATIVES = {"01_vae"}
NOTEBOOKS = [
    pytest.param(path, id=path.stem, marks=() if path.stem in REPRESENTATIVES else pytest.mark.slow)
    for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_runs(path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("GENJAX_NOTEBOOK_STEPS", "20")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compilation takes most of the time
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == sum("plt.subplots" in cell.source or "show(" in cell.source for cell in notebook.cells)
