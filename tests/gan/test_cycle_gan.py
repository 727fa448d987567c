"""CycleGAN with linear networks, and its pool of images against one in plain NumPy."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from genjax import gan
from genjax.capabilities import Diagnoses, Translates, supports
from genjax.core import Variables
from genjax.gan.cycle_gan import ImagePool, exchange
from tests.networks import Function

RNG = np.random.default_rng(0)
NUM, SIDES = 4, (2, 3)
X, Y = (RNG.uniform(size=(NUM, *SIDES, 2)).astype(np.float32) for _ in range(2))
U, V = 2 * X - 1, 2 * Y - 1  # what networks see
BATCH = {"x": jnp.asarray(X), "y": jnp.asarray(Y)}
G, F = (RNG.normal(size=(2, 2)).astype(np.float32) for _ in range(2))  # from y to x, and back
A, B = (RNG.normal(size=2).astype(np.float32) for _ in range(2))  # of the discriminators of x and y
STEP = jnp.int32(0)
LOSSES = {"discriminators": "discriminator", "generators": "generator"}

TRANSLATE = Function(lambda params, images: images @ params["w"], {"w": G})
JUDGE = Function(lambda params, images: (images @ params["a"])[..., None], {"a": A})


def model(**changes) -> gan.CycleGAN:
    networks = {
        f"{kind}_{name}": net for kind, net in (("generator", TRANSLATE), ("discriminator", JUDGE)) for name in "xy"
    }
    return gan.CycleGAN(**(networks | {"pool_size": 0, "source_channels": 2} | changes))


def variables(g=G, f=F, **state) -> Variables:
    params = {
        "generator_x": {"w": jnp.asarray(g)},
        "generator_y": {"w": jnp.asarray(f)},
        "discriminator_x": {"a": jnp.asarray(A)},
        "discriminator_y": {"a": jnp.asarray(B)},
    }
    return Variables(params, {name: {} for name in params} | state)


def losses(game, own):
    """Loss, new state, metrics and gradient of each objective, by name."""
    results = {}
    for objective in game.objectives():

        def loss(parts, objective=objective):
            return objective.loss(own.params | parts, own.state, jax.random.key(1), BATCH, STEP)

        parts = {name: own.params[name] for name in objective.wrt}
        (value, (state, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(parts)
        results[objective.name] = (value, state, metrics, gradient)
    return results


def l1(a, b):
    return np.mean(np.abs(a - b))


def per_channel(a, b):
    """Σ over examples and pixels of the outer products of channels."""
    return np.einsum("bhwc,bhwd->cd", a, b)


def test_the_discriminators_match_the_equations():
    value, _, metrics, gradient = losses(model(), variables())["discriminators"]
    expected = 0
    for name, slope, real, fake in (("x", A, U, V @ G), ("y", B, V, U @ F)):
        r, f = real @ slope, fake @ slope
        of_domain = np.mean((r - 1) ** 2) + np.mean((f + 1) ** 2)
        expected += of_domain
        assert float(metrics[f"divergence_{name}"]) == pytest.approx(2 - of_domain, rel=1e-4)
        by_hand = np.mean(2 * (r - 1)[..., None] * real + 2 * (f + 1)[..., None] * fake, axis=(0, 1, 2))
        np.testing.assert_allclose(gradient[f"discriminator_{name}"]["a"], by_hand, rtol=1e-4, atol=1e-5)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_the_generators_match_the_equations():
    game = model(cycle_weight=3.0, identity_weight=0.5, adversarial_loss=gan.NonSaturating())
    value, _, metrics, gradient = losses(game, variables())["generators"]
    f_x, f_y = V @ G @ A, U @ F @ B
    adversarial = np.mean(np.logaddexp(0, -f_x)) + np.mean(np.logaddexp(0, -f_y))
    cycle, identity = l1(V, V @ G @ F) + l1(U, U @ F @ G), l1(U, U @ G) + l1(V, V @ F)
    for name, expected in (("adversarial", adversarial), ("cycle", cycle), ("identity", identity)):
        assert float(metrics[name]) == pytest.approx(expected, rel=1e-5)
    assert float(value) == pytest.approx(adversarial + 3 * cycle + 0.5 * identity, rel=1e-5)
    # Of G: the game of x, both cycles, and its identity.
    of_game = per_channel(V, -expit(-f_x)[..., None] * A / f_x.size)
    of_y = per_channel(V, np.sign(V @ G @ F - V) @ F.T) / V.size
    of_x = per_channel(U @ F, np.sign(U @ F @ G - U)) / U.size
    of_identity = per_channel(U, np.sign(U @ G - U)) / U.size
    by_hand = of_game + 3 * (of_y + of_x) + 0.5 * of_identity
    np.testing.assert_allclose(gradient["generator_x"]["w"], by_hand, rtol=1e-4, atol=1e-5)
    assert np.abs(gradient["generator_y"]["w"]).min() > 0


def test_generators_that_invert_each_other_have_no_cycle_error():
    own = variables(f=np.linalg.inv(G))
    assert float(losses(model(), own)["generators"][2]["cycle"]) < 1e-5
    own = variables(g=np.eye(2), f=np.eye(2))
    assert float(losses(model(), own)["generators"][2]["identity"]) < 1e-6
    assert "identity" not in losses(model(identity_weight=0.0), own)["generators"][2]


def numpy_pool(images, count, key, new):
    """Equation 3 in plain NumPy, with the same random numbers."""
    images, count, returned = images.copy(), int(count), []
    swap_key, place_key = jax.random.split(key)
    swaps = np.asarray(jax.random.bernoulli(swap_key, 0.5, (len(new),)))
    places = np.asarray(jax.random.randint(place_key, (len(new),), 0, len(images)))
    for image, swap, place in zip(new, swaps, places, strict=True):
        if count < len(images):
            images[count] = image
            count += 1
            returned.append(image)
        elif swap:
            returned.append(images[place].copy())
            images[place] = image
        else:
            returned.append(image)
    return images, count, np.stack(returned)


def test_the_pool_is_that_of_plain_numpy():
    pool, reference, count = ImagePool(jnp.zeros((5, 2, 1)), jnp.int32(0)), np.zeros((5, 2, 1), np.float32), 0
    swaps = 0
    step = jax.jit(exchange)
    for i in range(12):
        new = np.float32(RNG.normal(size=(3, 2, 1)))
        pool, returned = step(pool, jax.random.key(i), jnp.asarray(new))
        reference, count, expected = numpy_pool(reference, count, jax.random.key(i), new)
        np.testing.assert_array_equal(pool.images, reference)
        np.testing.assert_array_equal(returned, expected)
        assert int(pool.count) == count == min(5, 3 * (i + 1))
        swaps += int(np.any(expected != new, axis=(1, 2)).sum())
    assert 5 < swaps < 26


def test_a_full_pool_exchanges_half_of_the_images_for_any_of_its_own():
    old, new = jnp.arange(4.0)[:, None], 10 + jnp.arange(1_000.0)[:, None]
    pool, returned = jax.jit(exchange)(ImagePool(old, jnp.int32(4)), jax.random.key(0), new)
    assert np.mean(np.asarray(returned == new)) == pytest.approx(0.5, abs=0.05)  # 3 standard errors
    together = np.sort(np.concatenate([pool.images, returned]), axis=0)
    np.testing.assert_array_equal(together, np.concatenate([old, new]))  # nothing is lost, nothing is twice
    keys = jax.random.split(jax.random.key(1), 2_000)
    first = jax.vmap(lambda key: exchange(ImagePool(old, jnp.int32(4)), key, new[:1])[1][0, 0])(keys)
    shares = [np.mean(np.asarray(first) == value) for value in range(4)]
    np.testing.assert_allclose(shares, 0.125, atol=0.025)


def test_discriminators_see_the_pool_and_generators_do_not():
    """Full pools of one image: what they return is the translation, or that image where it was replaced."""
    game, old = model(pool_size=NUM), {name: np.float32(RNG.normal(size=(*SIDES, 2))) for name in "xy"}
    own = variables(
        **{f"pool_{name}": ImagePool(jnp.stack([jnp.asarray(old[name])] * NUM), jnp.int32(NUM)) for name in "xy"}
    )
    value, state, _, _ = losses(game, own)["discriminators"]
    candidates = []
    for name, slope, real, fake in (("x", A, U, V @ G), ("y", B, V, U @ F)):
        r, f, of_old = np.mean((real @ slope - 1) ** 2), fake @ slope, np.mean((old[name] @ slope + 1) ** 2)
        of_fake = np.mean((f + 1) ** 2, axis=(1, 2))
        patterns = itertools.product((False, True), repeat=NUM)
        candidates.append([r + np.mean(np.where(swapped, of_old, of_fake)) for swapped in patterns])
        assert not np.allclose(state[f"pool_{name}"].images, old[name])
    sums = np.add.outer(*map(np.array, candidates))
    assert np.abs(sums - float(value)).min() < 1e-4 * float(value)
    assert abs(sums[0, 0] - float(value)) > 1e-3  # no image replaced
    value, state, _, _ = losses(game, own)["generators"]
    assert float(value) == pytest.approx(float(losses(model(), variables())["generators"][0]), rel=1e-6)
    np.testing.assert_array_equal(state["pool_x"].images, own.state["pool_x"].images)


def test_pools_start_empty_and_hold_the_first_translations():
    game = model(pool_size=6)
    own = game.init(jax.random.key(0), BATCH)
    assert own.state["pool_x"].images.shape == (6, *SIDES, 2)
    own = variables(pool_x=own.state["pool_x"], pool_y=own.state["pool_y"])
    _, state, _, _ = losses(game, own)["discriminators"]
    for name, fake in (("pool_x", V @ G), ("pool_y", U @ F)):
        assert int(state[name].count) == NUM
        np.testing.assert_allclose(state[name].images[:NUM], fake, rtol=1e-5)
        assert not np.any(state[name].images[NUM:])


def test_each_objective_moves_its_own_parts():
    objectives = model().objectives()
    assert [(o.name, o.wrt) for o in objectives] == [
        ("discriminators", ("discriminator_x", "discriminator_y")),
        ("generators", ("generator_x", "generator_y")),
    ]
    assert "pool_x" not in model().init(jax.random.key(0), BATCH).state


def test_directions():
    game, own, key = model(), variables(), jax.random.key(1)
    assert supports(game, Translates)
    assert not game.conditions[0].paired
    assert game.directions == ("y_to_x", "x_to_y")
    to_x, to_y = (V @ G + 1) / 2, (U @ F + 1) / 2
    np.testing.assert_allclose(game.translate(own, key, BATCH["y"]), to_x, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(game.translate(own, key, BATCH["x"], direction="x_to_y"), to_y, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(game.sample(own, key, NUM, y=BATCH["y"]), to_x, rtol=1e-4, atol=1e-6)


def test_a_diagnosis_is_of_the_worse_direction():
    """G copies its input, and F returns a constant."""
    x = jax.random.uniform(jax.random.key(0), (40, 1, 1, 2))
    game = model()
    assert supports(game, Diagnoses)
    coverage = [
        float(game.diagnose(variables(g=g, f=f), jax.random.key(1), {"x": x, "y": x})["coverage"])
        for g, f in ((np.eye(2), np.eye(2)), (np.eye(2), np.zeros((2, 2))), (np.zeros((2, 2)), np.eye(2)))
    ]
    assert coverage[0] == 1
    assert max(coverage[1:]) < 0.15


def test_errors():
    own, key = variables(), jax.random.key(1)
    for batch, message in (
        ({"x": BATCH["x"]}, "CycleGAN is conditioned on 'y'; add it to the data"),
        (BATCH | {"y": BATCH["y"].astype(jnp.uint8)}, "y has dtype uint8, but CycleGAN takes images in [0, 1]"),
        (BATCH | {"y": jnp.zeros((NUM, *SIDES, 3))}, "CycleGAN has source_channels=2; use source_channels=3"),
        (BATCH | {"y": BATCH["y"][:, :1]}, "and y (4, 1, 3, 2), but identity_weight=5.0 compares"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            model().init(key, batch)
    with pytest.raises(ValueError, match="direction is 'back', but must be 'y_to_x' or 'x_to_y'"):
        model().translate(own, key, BATCH["x"], direction="back")
    with pytest.raises(ValueError, match="y is None, but"):
        model().sample(own, key, 3)
    with pytest.raises(ValueError, match="and num_samples is 3; pass as many images"):
        model().sample(own, key, 3, y=BATCH["y"])
    with pytest.raises(ValueError, match=re.escape("generator_x returned shape (4, 2, 3, 1), but matching x needs")):
        model(generator_x=Function(lambda params, y: y[..., :1])).init(key, BATCH)
    with pytest.raises(ValueError, match="a diagnosis compares two"):
        model().diagnose(own, key, jax.tree.map(lambda a: a[:1], BATCH))


def test_defaults_are_those_of_the_paper():
    game = gan.CycleGAN(**{f"{kind}_{name}": JUDGE for kind in ("generator", "discriminator") for name in "xy"})
    assert (game.cycle_weight, game.identity_weight, game.pool_size) == (10, 5, 50)
    assert game.adversarial_loss == gan.LeastSquares()
