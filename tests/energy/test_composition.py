"""Products of energy models: densities on grids, and parts that stay apart."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import energy, flow, nets
from genjax.core import Variables
from tests.energy.test_rules import Quadratic

BASE = energy.Gaussian((2,), std=3.0)
EXPERT = energy.EnergyModel(net=Quadratic(), base=BASE, rules=(energy.SlicedScoreMatching(),))
X = jax.random.normal(jax.random.key(0), (6, 2))


def at(center: float, slope: float) -> Variables:
    params = {"net": {"slope": jnp.float32(slope), "center": jnp.full(2, center)}}
    return EXPERT.init(jax.random.key(0), {"x": X})._replace(params=params)


def test_a_product_of_gaussians_is_their_gaussian():
    """Precisions add up, with weights, to that of the base: 0.5 · 2 + 1 · 1 + 1/9."""
    half = energy.Expert(EXPERT, weight=0.5)
    product = energy.Product(experts=(half, EXPERT), kernel=energy.MALA(0.1))
    variables = product.join([at(1.0, 2.0), at(-2.0, 1.0)])
    precision = 0.5 * 2.0 + 1.0 + 1 / 9
    mean = (0.5 * 2.0 * 1.0 - 2.0) / precision
    expected = -0.5 * precision * jnp.sum(jnp.square(X - mean), axis=1) + jnp.log(precision / (2 * jnp.pi))
    np.testing.assert_allclose(product.log_prob(variables, X), expected, atol=1e-3)
    x = product.sample(variables, jax.random.key(1), 2_000)
    assert float(jnp.mean(x)) == pytest.approx(mean, abs=5 / np.sqrt(4_000 * precision))
    assert float(jnp.var(x)) == pytest.approx(1 / precision, rel=0.15)


def test_a_negated_expert_divides():
    product = energy.Product(experts=(EXPERT, energy.Negation(EXPERT)), kernel=energy.MALA(0.1))
    variables = product.join([at(1.0, 2.0), at(1.0, 1.0)])
    np.testing.assert_allclose(product.energy(variables, X), 0.5 * jnp.sum(jnp.square(X - 1), axis=1), rtol=1e-5)
    assert energy.Negation(energy.Negation(EXPERT)) == energy.Expert(EXPERT)


def test_classes_never_seen_together_combine():
    classes = energy.EnergyModel(
        net=nets.MLP((8, 3)), base=BASE, rules=(energy.Classification(),), num_classes=3, kernel=energy.MALA(0.1)
    )
    variables = classes.init(jax.random.key(0), {"x": X, "label": jnp.arange(6) % 3})
    product = energy.Product(
        experts=(energy.Expert(classes, label=0), energy.Expert(classes, label=2)), kernel=energy.MALA(0.1)
    )
    expected = classes.energy(variables, X, label=0) + classes.energy(variables, X, label=2)
    np.testing.assert_allclose(product.energy(product.join([variables] * 2), X), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="label is 3, but the model has num_classes=3"):
        energy.Expert(classes, label=3)


def test_log_partition_of_a_product_is_estimated():
    product = energy.Product(experts=(energy.Expert(EXPERT), energy.Expert(EXPERT)), kernel=energy.MALA(0.1))
    variables = product.join([at(1.0, 2.0), at(-1.0, 1.0)])
    estimate = product.log_partition_estimate(variables, jax.random.key(0), 500, num_temperatures=100)
    assert estimate.low < product.log_partitions(variables)[0] < estimate.high


def test_bases_with_other_variables_do_not_join():
    base = energy.Pretrained(flow.Flow(shape=(2,), bijection=flow.ActNorm()))
    expert = dataclasses.replace(EXPERT, base=base)
    product = energy.Product(experts=(expert, expert), kernel=energy.MALA(0.1))
    one, other = (expert.init(jax.random.key(0), {"x": x}) for x in (X, 3 * X))
    product.join([one, one])
    with pytest.raises(ValueError, match="expert 1 has other variables of the base than expert 0"):
        product.join([one, other])


def test_wrong_products_say_why():
    other = dataclasses.replace(EXPERT, base=energy.Gaussian((2,)))
    with pytest.raises(ValueError, match="but must share one; train them alike"):
        energy.Product(experts=(energy.Expert(EXPERT), energy.Expert(other)), kernel=energy.MALA())
    product = energy.Product(experts=(energy.Expert(EXPERT),), kernel=energy.MALA())
    with pytest.raises(ValueError, match="variables of 2 models, but 1 experts"):
        product.join([at(0.0, 1.0)] * 2)
    with pytest.raises(ValueError, match="label is 1, but the experts of a product have their own"):
        product.sample(product.join([at(0.0, 1.0)]), jax.random.key(0), 2, label=1)
    with pytest.raises(ValueError, match="experts is empty"):
        energy.Product(experts=(), kernel=energy.MALA())
