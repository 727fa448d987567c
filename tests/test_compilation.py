"""Which compiler options the library's own programs have, and that they have them."""

import re
import runpy
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import genjax
from genjax import compilation
from genjax.evaluation.samples import draw_samples
from genjax.runner import train
from tests.running import TINY

ROOMS = ("runner", "comparison", "evaluation", "monitoring", "figures", "estimators", "metrics/features")
UNKNOWN = {"xla_cpu_option_of_no_version": "1"}


@pytest.fixture
def one_device(monkeypatch):
    """Let this process seem to have one device of two cores."""
    is_known = compilation._is_known
    is_known.cache_clear()
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(compilation, "_num_cores", lambda: 2)
    yield
    is_known.cache_clear()


@pytest.fixture
def experiment():
    """Return an experiment whose model no other test has compiled."""
    return runpy.run_path(str(TINY))["experiment"](latent_dim=5)


def test_a_device_of_several_cores_has_kernels_that_use_them(one_device):
    assert compilation.compiler_options() == compilation.WITHOUT_CONVOLUTIONS


@pytest.mark.parametrize(("function", "value"), [("local_device_count", 2), ("default_backend", "gpu")])
def test_other_devices_keep_the_options_of_the_compiler(one_device, monkeypatch, function, value):
    monkeypatch.setattr(jax, function, lambda: value)
    assert compilation.compiler_options() == {}


def test_flags_of_the_user_stay(one_device, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--{compilation.OPTION}=+individual_convolution")
    assert compilation.compiler_options() == {}


def test_an_unknown_option_is_left_out(one_device, monkeypatch):
    monkeypatch.setattr(compilation, "WITHOUT_CONVOLUTIONS", UNKNOWN)
    assert compilation.compiler_options() == {}
    assert int(compilation.jit(lambda x: x + 1)(jnp.int32(1))) == 2


@pytest.mark.skipif(not version("jaxlib").startswith("0.10."), reason="other versions may choose other kernels")
def test_convolutions_leave_the_kernels_of_one_thread(one_device):
    def convolve(x, w):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    lowered = jax.jit(convolve).lower(jnp.ones((8, 16, 16, 32)), jnp.ones((3, 3, 32, 32)))
    programs = [lowered.compile(options).as_text() for options in (None, compilation.compiler_options())]
    assert ["ynn" in program for program in programs] == [True, False]


def in_training(experiment):
    train(experiment, progress=False)


def in_sampling(experiment):
    model = experiment.model
    draw_samples(model, model.init(jax.random.key(0), {"x": jnp.zeros((2, 4, 4, 1))}), jax.random.key(1), 3)


@pytest.mark.parametrize("use", [in_training, in_sampling])
def test_programs_of_the_library_have_the_options(one_device, monkeypatch, experiment, use):
    monkeypatch.setattr(compilation, "WITHOUT_CONVOLUTIONS", UNKNOWN)
    monkeypatch.setattr(compilation, "_is_known", lambda: True)
    with pytest.raises(jax.errors.JaxRuntimeError, match=next(iter(UNKNOWN))):
        use(experiment)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_that_run_models_compile_in_one_way(room):
    """``jax.jit`` alone would leave convolutions on one thread; what is only traced is for chips that are not there."""
    text = "".join(path.read_text() for path in (Path(genjax.__file__).parent / room).rglob("*.py"))
    text = re.sub(r"jax\.jit\(.*\)\.trace\(", "", text)
    assert text.count("jax.jit") == text.count("compiler_options=compiler_options()")
