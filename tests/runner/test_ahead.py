"""Programs compiled for the devices here and for TPUs that are not there."""

import importlib.util
import json
import runpy
from pathlib import Path

import pytest

from genjax.runner import load_experiment_fn
from genjax.runner.ahead import compile_ahead, find_target
from tests.running import ROOT, TINY, finish, start

STAGED = TINY.with_name("staged.py")
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
TOOL = runpy.run_path(str(ROOT / "experiments" / "tools" / "compile_experiments.py"))
needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra tpu-aot")


def test_every_stage_and_the_sampler_compile_for_the_devices_here():
    names = []
    programs = list(compile_ahead(load_experiment_fn(STAGED)(), find_target("cpu", ""), announce=names.append))
    assert [program.name for program in programs] == names
    assert names[-1] == "sample"
    assert all(name.startswith("train ") for name in names[:-1])
    assert len(names) > 2
    for program in programs:
        assert program.argument_bytes > 0
        assert program.flops > 0
        assert program.least_seconds is None  # CPUs have no published peak


def test_a_batch_that_the_chips_do_not_divide_is_refused():
    experiment = load_experiment_fn(TINY)(batch_size=9)
    with pytest.raises(ValueError, match=r"batch_size is 9, but 2 devices must share it evenly"):
        next(compile_ahead(experiment, find_target("cpu", "")))


def test_what_it_needs_for_tpus_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"install it with: pip install 'genjax-models\[tpu-aot\]'"):
        find_target("tpu", "v5e:2x2")


def compiled(name, *flags, timeout=600):
    """Return what ``genjax compile --json`` prints."""
    process = start("compile", name, "--json", *flags, JAX_DISABLE_MOST_OPTIMIZATIONS="0")
    status, out, err = finish(process, timeout)
    assert status == 0, err
    return json.loads(out)["programs"]


@needs_libtpu
@pytest.mark.parametrize("file", [TINY, STAGED], ids=lambda path: Path(path).stem)
def test_tiny_experiments_compile_for_tpus(file):
    programs = compiled(file, "--mesh", "data=2,fsdp=2")
    assert all(program["fits"] and program["bound"] for program in programs)
    assert programs[0]["collectives"]


@needs_libtpu
def test_unknown_topologies_are_one_line():
    status, _, err = finish(start("compile", TINY, "--topology", "v5e:7x3"))
    assert status == 2
    assert "genjax: error: topology is 'v5e:7x3', which the compiler rejects" in err


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5e:4x4"])
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_compiles_for_tpus(path, topology):
    programs = compiled(path, "--topology", topology, *TOOL["batch_flags"](path, TOOL["num_chips"](topology)))
    assert programs[-1]["name"] == "sample"
    assert all(program["error"] is None for program in programs)


def test_batches_become_a_multiple_of_the_chips():
    assert TOOL["num_chips"]("v5p:2x2x4") == 16
    path = ROOT / "experiments" / "rbm_bars_and_stripes.py"  # batches of all 30 examples
    flags = [TOOL["batch_flags"](path, chips) for chips in (4, 15, 16)]
    assert flags == [["--batch-size", "28"], [], ["--batch-size", "16"]]
    flags = TOOL["batch_flags"](ROOT / "experiments" / "vae_digits.py", 3)
    assert int(flags[1]) % 3 == 0


def test_gpus_are_named_by_kind_and_number():
    for topology in ("v5e:2x2", "h100", "h100:0", "h100:x"):
        message = f"topology is '{topology}', but must be a GPU, one of a100, h100, h200, and a number of them; use h"
        with pytest.raises(ValueError, match=message):
            find_target("cuda", topology)


def test_what_it_needs_for_gpus_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"install it with: pip install 'genjax-models\[cuda-aot\]'"):
        find_target("cuda", "h100:8")


@pytest.mark.skipif(
    importlib.util.find_spec("jax_plugins") is None or importlib.util.find_spec("jax_plugins.xla_cuda13") is None,
    reason="needs the extra cuda-aot",
)
@pytest.mark.parametrize("topology", ["a100:2", "h100:2", "h200:2"])
def test_tiny_experiments_compile_for_gpus(topology):
    programs = compiled(TINY, "--platform", "cuda", "--topology", topology)
    assert all(program["fits"] and program["bound"] and program["bytes_moved"] for program in programs)
    assert programs[0]["collectives"]
