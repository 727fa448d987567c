"""Compile without most optimizations: these tests spend their time compiling."""

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def quick_compilation():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
