"""Speeds are of compiled programs, which no cache shortens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from genjax.comparison import speed
from genjax.comparison.floor_models import Bootstrap


@pytest.fixture
def cache(tmp_path):
    """Keep compiled programs in a folder of this test alone."""
    settings = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_compilation_passes_the_cache_by(cache):
    model = Bootstrap()
    variables = model.init(jax.random.key(0), {"x": jnp.arange(5.0)[:, None]})
    draw, seconds, size = speed.compiled_sampler(model, variables, jax.random.key(1), 7, conditions={})
    assert size is not None and size >= 4 * (5 + 7)  # what it draws from, and samples
    assert seconds > 0
    assert not list(cache.glob("jit_sample*"))
    np.testing.assert_array_equal(draw(), model.sample(variables, jax.random.key(1), 7))
    jax.jit(model.sample, static_argnums=2)(variables, jax.random.key(1), 7)
    assert list(cache.glob("jit_sample*")), "the cache is enabled again"


def test_slow_calls_are_repeated_less(monkeypatch):
    ticks = iter(range(0, 1000, 9))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    assert speed.durations(lambda: None, 5) == [9, 9, 9]  # 18 s leave time for one more
    assert speed.durations(lambda: None, 2) == [9, 9]
