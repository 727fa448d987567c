"""Sinkhorn's plan: its marginals, and the cheapest plan as its limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from genjax.ops.transport import sinkhorn

solve = jax.jit(sinkhorn, static_argnums=2)


def squares(x, y):
    return jnp.sum(jnp.square(x[:, None] - y[None]), axis=-1)


@pytest.mark.parametrize("num_columns", [20, 32])
def test_marginals(num_columns):
    x, y = jax.random.normal(jax.random.key(0), (20, 3)), 1 + jax.random.normal(jax.random.key(1), (num_columns, 3))
    plan = np.exp(np.asarray(solve(squares(x, y), 0.5, 500), np.float64))
    np.testing.assert_allclose(20 * plan.sum(axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(num_columns * plan.sum(axis=0), 1.0, atol=1e-4)


def test_rows_are_right_after_one_iteration():
    cost = squares(jax.random.normal(jax.random.key(2), (6, 2)), jax.random.normal(jax.random.key(3), (9, 2)))
    np.testing.assert_allclose(jnp.exp(solve(cost, 0.01, 1)).sum(axis=1), 1 / 6, rtol=1e-5)


def test_much_entropy_is_independence():
    cost = squares(jax.random.normal(jax.random.key(4), (6, 2)), jax.random.normal(jax.random.key(5), (9, 2)))
    np.testing.assert_allclose(jnp.exp(solve(cost, 1e5, 5)), np.full((6, 9), 1 / 54), rtol=1e-3)


def test_on_a_line_it_tends_to_the_monotone_pairing():
    x, y = jnp.linspace(1, 3, 12)[:, None] ** 2, jnp.linspace(-1, 4, 12)[:, None]
    order = np.random.default_rng(0).permutation(12)
    plans = [12 * np.exp(np.asarray(solve(squares(x, y[order]), epsilon, 2_000))) for epsilon in (2.0, 0.2, 0.02)]
    diagonals = [plan[order, np.arange(12)].min() for plan in plans]  # y[order][j] belongs to x[order[j]]
    assert diagonals[0] < diagonals[1] < diagonals[2]
    assert diagonals[2] > 0.97  # 2,000 iterations come no closer


def test_it_minimizes_cost_and_entropy():
    """Exactly the minimizers have log P = f + g − C/ε, so mixed differences of ε log P are those of −C."""
    cost = squares(jax.random.normal(jax.random.key(6), (5, 2)), jax.random.normal(jax.random.key(7), (7, 2)))
    potentials = np.asarray(0.3 * solve(cost, 0.3, 300) + cost)
    np.testing.assert_allclose(potentials - potentials[:1] - potentials[:, :1] + potentials[0, 0], 0.0, atol=1e-4)


def test_the_cost_nears_that_of_the_exact_assignment_from_above():
    x, y = jax.random.normal(jax.random.key(8), (24, 2)), 0.5 + jax.random.normal(jax.random.key(9), (24, 2))
    cost = np.asarray(squares(x, y), np.float64)
    exact = cost[linear_sum_assignment(cost)].mean()
    costs = [np.sum(np.exp(np.asarray(solve(cost, epsilon, 3_000), np.float64)) * cost) for epsilon in (1.0, 0.1, 0.01)]
    assert costs[0] > costs[1] > costs[2] > exact - 1e-3
    # The entropy of all plans lies between log N and 2 log N, so the excess cost is at most ε log N.
    for epsilon, own in zip((1.0, 0.1, 0.01), costs, strict=True):
        assert own < exact + epsilon * np.log(24) + 1e-3


@pytest.mark.parametrize(
    ("cost", "epsilon", "iterations", "message"),
    [
        (np.ones(3), 0.1, 5, r"cost has shape \(3,\), but must be \(N, M\)"),
        (np.ones((3, 3)), 0.0, 5, "epsilon is 0.0, but must be above 0"),
        (np.ones((3, 3)), 0.1, 0, "num_iterations is 0, but must be at least 1"),
    ],
)
def test_errors(cost, epsilon, iterations, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(cost, epsilon, iterations)
