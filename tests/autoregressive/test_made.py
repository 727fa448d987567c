"""MADE: masses sum to one, samples follow them, and outputs respect the order of the dimensions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive, capabilities
from tests.autoregressive.frequencies import p_value

ORDER = (2, 0, 5, 1, 4, 3)
EVERYTHING = jnp.array(list(itertools.product(range(2), repeat=6)), jnp.int32).reshape(-1, 2, 3)
DRAWS = 20_000


def small(**options):
    return autoregressive.MADE(**{"shape": (2, 3), "features": (16, 16)} | options)


def randomized(model, x=EVERYTHING):
    """Return variables with every parameter far from its initial value."""
    batch = {"x": x, "label": jnp.zeros(len(x), jnp.int32)}
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda a: a + jnp.float32(rng.normal(size=a.shape)), variables.params)
    return variables._replace(params=params)


@pytest.mark.parametrize("orders", ["natural", ORDER, np.int64(3)], ids=["natural", "own", "three"])
@pytest.mark.parametrize("num_classes", [None, 3], ids=["unconditional", "by class"])
def test_masses_sum_to_one_and_samples_have_them(orders, num_classes):
    model = small(orders=orders, num_classes=num_classes)
    variables, label = randomized(model), {} if num_classes is None else {"label": 1}
    log_prob = jax.jit(lambda v: model.log_prob(v, EVERYTHING, **label))(variables)
    mass = np.exp(np.asarray(log_prob, np.float64))
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, **label))
    x = np.asarray(draw(variables, jax.random.key(1))).reshape(DRAWS, 6)
    count = np.bincount(x @ 2 ** np.arange(5, -1, -1), minlength=64)
    assert p_value(count, mass) > 1e-4


def test_masses_of_several_levels_sum_to_one():
    x = jnp.array(list(itertools.product(range(4), repeat=3)), jnp.int32)
    model = small(shape=(3,), num_values=4)
    assert float(jnp.exp(model.log_prob(randomized(model, x), x)).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("orders", ["natural", ORDER], ids=["natural", "own"])
def test_conditionals_see_what_comes_before_them_and_nothing_else(orders):
    model = small(orders=orders, activation=jnp.tanh)
    variables = randomized(model)
    rng = np.random.default_rng(1)

    def conditionals(x):
        condition, order = None, model._fixed_order
        return model._net.apply({"params": variables.params["net"]}, x[None], condition, order)[0, 0]

    x = jnp.float32(rng.random((20, 6)))
    reached = np.abs(jax.jit(jax.vmap(jax.jacfwd(conditionals)))(x)).max(axis=0)
    rank = np.argsort(range(6) if orders == "natural" else orders)
    allowed = rank[None, :] < rank[:, None]  # output by input
    assert (reached[~allowed] == 0).all()
    assert (reached[allowed] > 0).all()


def test_several_orders_are_permutations_and_training_takes_them_in_turn():
    model = small(orders=4)
    variables = randomized(model)
    orders = np.asarray(variables.state["orders"])
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert len({tuple(order) for order in orders}) == 4
    losses = jax.jit(jax.vmap(lambda k: model.loss(*variables, k, {"x": EVERYTHING[:7]}, 0)[0]))(
        jax.random.split(jax.random.key(0), 40)
    )
    assert len(np.unique(np.round(losses, 4))) == 4


def test_half_of_an_image_is_drawn_given_the_other():
    """Compare with the conditional distribution, by enumeration."""
    model = small()
    variables = randomized(model)
    mass = np.exp(model.log_prob(variables, EVERYTHING)).reshape(8, 8)
    known = jnp.array([[[1, 0, 1], [0, 0, 0]]], jnp.int32)
    keep = jnp.array([[True] * 3, [False] * 3])
    draw = jax.jit(lambda v, k: model.sample(v, k, DRAWS, known=known, keep=keep))
    x = np.asarray(draw(variables, jax.random.key(2)))
    assert (x[:, 0] == [1, 0, 1]).all()
    count = np.bincount(x[:, 1] @ np.array([4, 2, 1]), minlength=8)
    conditional = mass[5] / mass[5].sum()
    assert p_value(count, conditional) > 1e-4


def test_unknown_values_have_their_conditional_frequencies():
    """Each of two examples has its own number of first values."""
    model = small()
    variables = randomized(model)
    mass = np.exp(model.log_prob(variables, EVERYTHING)).reshape(8, 8)
    known = [[[1, 0, 1], [-7, -7, -7]], [[1, 1, 0], [1, 0, -7]]]
    x = jnp.repeat(jnp.array(known, jnp.int32), DRAWS, axis=0)
    drawn = np.asarray(jax.jit(model.impute)(variables, jax.random.key(2), x, x >= 0))
    assert (np.where(x >= 0, drawn - x, 0) == 0).all()
    count = np.bincount(drawn[:DRAWS, 1] @ np.array([4, 2, 1]), minlength=8)
    assert p_value(count, mass[5] / mass[5].sum()) > 1e-4
    last = mass[6, 4:6]
    assert p_value(np.bincount(drawn[DRAWS:, 1, 2], minlength=2), last / last.sum()) > 1e-4


def test_only_first_values_can_be_known():
    model, x = small(), EVERYTHING[:2]
    variables = randomized(model)
    mask = jnp.array([[[True] * 3, [False, True, False]]])
    with pytest.raises(ValueError, match="mask is True at value 4 of example 0, after a value that is not known"):
        model.impute(variables, jax.random.key(0), x, mask)
    shuffled = small(orders=ORDER)
    assert not capabilities.supports(shuffled, capabilities.Imputes)
    with pytest.raises(ValueError, match=r"orders is .*, but only 'natural' imputes; train a MADE"):
        shuffled.impute(randomized(shuffled), jax.random.key(0), x, mask)


def test_greedy_samples_are_all_alike():
    model = small()
    x = np.asarray(model.sample(randomized(model), jax.random.key(0), 5, temperature=0.0))
    assert (x == x[:1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orders": (0, 1, 2, 3, 4, 4)}, r"orders is \(0, 1, 2, 3, 4, 4\), but must be 'natural', a number of random"),
        (
            {"orders": "random"},
            "orders is 'random', but must be 'natural', a whole number or a Sequence",
        ),
        ({"orders": 0}, "orders is 0, but must be 'natural', at least 1 or a Sequence"),
        ({"num_values": 1}, "num_values is 1, but must be at least 2"),
        ({"shape": ()}, r"shape is \(\), but must be of length 1 or more; use \(D,\) for"),
        ({"num_classes": 0}, "num_classes is 0, but must be at least 1"),
    ],
)
def test_refuses_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            jnp.full((1, 2, 3), 2),
            "x is 2 at .*, but num_values=2 allows 0 … 1; remove scaling and dequantization, or set",
        ),
        (jnp.full((1, 2, 3), 0.5), "x is 0.5 at .*, but num_values=2 allows 0 … 1"),
        (jnp.zeros((1, 6)), r"x has shape \(1, 6\), but this model has shape=\(2, 3\) after the batch axis"),
    ],
)
def test_refuses_data_of_other_values_and_shapes(x, message):
    with pytest.raises(ValueError, match=message):
        small().init(jax.random.key(0), {"x": x})
