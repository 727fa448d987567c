"""Every block of the README runs, also from a folder beside a clone named ``genjax``."""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest

from tests.running import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    shlex.split(command, comments=True)
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    for command in line.split("&&")
]
SHORTER = {  # settings that make a command cheap
    "train": ("--steps", "20"),
    "sample": (),
    "evaluate": ("--likelihood-samples", "2", "--num-samples", "30"),
}


def test_blocks_are_python_or_commands():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert len(PYTHON) == 2
    programs = [command[0] for command in COMMANDS]
    assert set(programs) == {"python3", ".venv/bin/pip", ".venv/bin/genjax", ".venv/bin/python"}


@pytest.mark.parametrize("text", PYTHON, ids=["call", "scikit-learn"])
def test_python_runs_beside_a_clone(text, tmp_path):
    """The folder of a clone has the package's name, but is no package."""
    (tmp_path / "genjax" / "genjax").mkdir(parents=True)
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, "script.py"]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_run_one_after_the_other(genjax, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for name in ("REAL", "GENERATED"):
        np.savez(tmp_path / name, x=np.random.default_rng(0).random((20, 4, 4, 1), np.float32))
    run, commands = "RUN", [command for command in COMMANDS if "genjax" in " ".join(command)]
    for program, *words in commands:
        arguments = [run if word == "RUN" else word for word in words]
        if program == ".venv/bin/genjax":
            status, out, err = genjax(*arguments, *SHORTER[arguments[0]])
            assert status == 0, err
            if arguments[0] == "train":
                run = out.split()[1].rstrip(":")
        elif arguments[:2] == ["-m", "genjax.metrics"]:
            from genjax.metrics.__main__ import main

            assert main(arguments[2:]) == 0


def test_what_train_prints_can_be_pasted(genjax, tmp_path):
    folder = tmp_path / "my runs"
    status, out, err = genjax("train", ROOT / "tests/runner/experiments/tiny.py", "--workdir", folder, "--steps", "10")
    assert status == 0, err
    program, *arguments = shlex.split(out.split("draw more with: ")[1])
    assert arguments[-4:] == ["sample", str(folder), "-n", "64"]
    assert shutil.which(program), program
    assert arguments[:-4] in ([], ["-m", "genjax"])


def test_an_editable_install_is_found_beside_the_clone(tmp_path):
    """Setuptools puts the clone on the path; its import hook would come after a namespace package."""
    pytest.importorskip("setuptools", "77")
    clone, site = tmp_path / "genjax", tmp_path / "site"
    (clone / "genjax").mkdir(parents=True)
    for folder in ("tests", "docs", "experiments", "notebooks"):
        (clone / folder).mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (clone / name).write_text((ROOT / name).read_text())
    (clone / "genjax" / "__init__.py").write_text('__version__ = "0.1.0"\nExperiment = 1\n')
    build = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(site)], cwd=clone, check=True, capture_output=True)
    (wheel,) = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    script = f"import site; site.addsitedir({str(site)!r}); from genjax import Experiment; print(Experiment)"
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    # Without the site packages, where this package may be installed itself.
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import script"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr
