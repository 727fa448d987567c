"""``jax.export`` compiles methods once for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from genjax.capabilities import Decodes, Encodes, Reconstructs, likelihoods, supports
from tests.contract.batches import NUM_EXAMPLES
from tests.contract.case import Case
from tests.contract.registry import CASES, FAMILIES
from tests.contract.training import label_option

FIRST = {family.CASES[0].name for family in FAMILIES}
EVERY = [pytest.param(case, id=case.name, marks=[] if case.name in FIRST else pytest.mark.slow) for case in CASES]


def methods(model: Any) -> dict[str, Callable[..., jax.Array]]:
    """Return functions of variables, data and conditions, by the name of the method."""
    key = jax.random.key(0)
    functions = {
        "log_prob": lambda variables, x, given: model.log_prob(variables, x, **given),
        "log_prob_lower_bound": lambda variables, x, given: model.log_prob_lower_bound(variables, key, x, **given),
        "log_prob_estimate": lambda variables, x, given: model.log_prob_estimate(variables, key, x, 2, **given),
        "encode": lambda variables, x, given: model.encode(variables, x, **given),
        "decode": lambda variables, x, given: model.decode(variables, model.encode(variables, x, **given), **given),
        "reconstruct": lambda variables, x, given: model.reconstruct(variables, key, x, **given),
    }
    has = {*likelihoods(model), *(["encode"] if supports(model, Encodes) else [])}
    has |= {"decode"} if supports(model, Encodes) and supports(model, Decodes) else set()
    has |= {"reconstruct"} if supports(model, Reconstructs) else set()
    return {name: function for name, function in functions.items() if name in has}


@pytest.mark.parametrize("case", EVERY)
def test_methods_are_exported_with_a_free_batch(case: Case):
    model, batch = case.model(), case.batch(jax.random.key(0))
    variables = jax.eval_shape(model.init, jax.random.key(1), batch)
    (size,) = jax.export.symbolic_shape("b")

    def free(array: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *jnp.shape(array)[1:]), array.dtype)

    given = label_option(model, NUM_EXAMPLES)
    with jax.debug_key_reuse(False):
        for function in methods(model).values():
            exported = jax.export.export(jax.jit(function))(variables, free(batch["x"]), jax.tree.map(free, given))
            assert {str(aval.shape[0]) for aval in exported.out_avals} == {"b"}
