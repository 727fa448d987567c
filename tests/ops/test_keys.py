"""A seed is the only one of its key."""

import jax
import pytest

from genjax.ops.keys import seed_key


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_seeds_have_the_keys_of_jax(seed):
    assert seed_key(seed) == jax.random.key(seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40, 1.5, "1"])
def test_refuses_seeds_that_share_the_key_of_another(seed):
    with pytest.raises(ValueError, match=f"seed is {seed!r}, but must be"):
        seed_key(seed)
