"""Flows for integers: masses sum to one, bounds lie below them, and the dequantizer is a density on the cube."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data, flow, nets
from genjax.flow.dequantization import VariationalDequantization

LEVELS, SHAPE = 3, (2,)
ALL = jnp.array(list(itertools.product(range(LEVELS), repeat=2)), jnp.uint8)  # the nine values of k
AFFINE = flow.Affine()
FIRST, SECOND = (
    flow.Coupling(transform=AFFINE, net=nets.MLP((8,), activation=jnp.tanh, output_scale=0.0), flip=flip)
    for flip in (False, True)
)
VARIATIONAL = flow.Chain((flow.Elementwise(AFFINE), SECOND))
LOGIT = flow.Logit(alpha=1e-6)  # only noise beyond ±14 falls outside [0, 1]


def model(dequantizer=VARIATIONAL, num_classes=None):
    bijection = flow.Chain((LOGIT, FIRST, flow.Elementwise(AFFINE)))
    density = flow.Flow(shape=SHAPE, bijection=bijection, num_classes=num_classes)
    return VariationalDequantization(flow=density, dequantizer=dequantizer, num_values=LEVELS)


def scattered(model, seed, x=ALL):
    """Random variables, because at initialization most of a flow is the identity."""
    batch = {"x": x, "label": jnp.zeros(len(x), jnp.int32)}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert not jax.tree.leaves(shapes.state)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(0.4 * rng.normal(size=leaf.shape)), shapes)


def of_flow(variables):
    return variables._replace(params=variables.params["flow"], state=variables.state["flow"])


def exact_log_probs(model, variables, size=200, **label):
    """Log-masses of all k by the midpoint rule on a grid of each cell."""
    steps = (jnp.arange(LEVELS * size) + 0.5) / (LEVELS * size)
    grid = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(np.float64(jax.jit(model.flow.log_prob)(of_flow(variables), grid, **label)))
    return np.log(density.reshape(LEVELS, size, LEVELS, size).mean(axis=(1, 3)).reshape(-1) / LEVELS**2)


def runs_of(discrete, variables, num_samples=2_000, num_runs=10, **label):
    """Independent runs of the bound and the estimate from the same draws, (num_runs, 9) each."""

    def one(key):
        same = jax.random.clone(key)
        options = {"num_samples": num_samples, "chunk_size": 1_000, **label}
        bound = discrete.log_prob_lower_bound(variables, key, ALL, **options)
        return bound, discrete.log_prob_estimate(variables, same, ALL, **options)

    with jax.debug_key_reuse(False):  # a map over keys is reported as a reuse
        runs = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), num_runs))
    return [np.float64(run) for run in runs]


def agree(runs, expected, slack=0.0):
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    return (np.abs(runs.mean(axis=0) - expected) < 6 * error + slack).all()


@pytest.fixture(scope="module", params=["variational", "uniform"])
def reference(request):
    """A model, its variables, the log-masses of all values, and runs of the estimate and the bound."""
    discrete = model() if request.param == "variational" else model(None)
    variables = scattered(discrete, 3)
    return discrete, variables, exact_log_probs(discrete, variables), runs_of(discrete, variables)


def test_estimates_are_the_masses_and_sum_to_one(reference):
    _, _, exact, (_, estimates) = reference
    masses = np.exp(estimates)
    assert agree(masses, np.exp(exact), 1e-5)
    total = masses.sum(axis=1)
    assert total.std(ddof=1) < 0.05
    assert agree(total, 1.0, 1e-3)


def test_the_bound_lies_below_and_the_loss_is_its_negative(reference):
    discrete, variables, exact, (bounds, estimates) = reference
    assert (bounds < estimates).all()
    bound = bounds.mean(axis=0)
    assert (bound < exact - 0.01).all()
    batch = {"x": ALL}

    @jax.jit
    def losses(keys):
        return jax.vmap(lambda key: discrete.loss(*variables, key, batch, jnp.int32(0)))(keys)

    loss, (state, metrics) = losses(jax.random.split(jax.random.key(1), 4_000))
    assert agree(np.float64(loss), -bound.mean(), 1e-3)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b[None]).all(), state, variables.state))
    parts = metrics["log_density"] + metrics["entropy"] - 2 * np.log(LEVELS)
    np.testing.assert_allclose(metrics["bound"], parts, atol=1e-5)


def test_results_do_not_depend_on_chunks():
    discrete = model()
    variables = scattered(discrete, 3)
    few, many = (
        jax.jit(lambda key, size=size: discrete.log_prob_estimate(variables, key, ALL, 50, chunk_size=size))
        for size in (7, 50)
    )
    np.testing.assert_allclose(few(jax.random.key(0)), many(jax.random.key(0)), rtol=1e-4)


def test_uniform_dequantization_is_that_of_the_data():
    """In expectation it is the log-density of ``data.dequantize``, with the width of a bin for every dimension."""
    discrete = model(None)
    variables = scattered(discrete, 3)
    transform = data.dequantize(levels=LEVELS)
    width = transform.bin_width
    assert width is not None

    @jax.jit
    def outside(keys):
        v = jax.vmap(lambda key: transform(key, {"x": ALL})["x"])(keys)
        log_density = discrete.flow.log_prob(of_flow(variables), v.reshape(-1, 2))
        return log_density.reshape(-1, len(ALL)) + 2 * np.log(width)

    draws = np.float64(outside(jax.random.split(jax.random.key(0), 10_000)))
    inside, _ = runs_of(discrete, variables, num_samples=10_000)
    assert agree(draws, inside.mean(axis=0))
    v, log_q = jax.jit(discrete.dequantize)(variables, jax.random.key(0), ALL)
    np.testing.assert_array_equal(np.floor(LEVELS * v), ALL)
    np.testing.assert_array_equal(log_q, 0)


def test_the_dequantizer_is_a_density_on_the_cube():
    """Draws of (v, log q) and the inverse on a grid of u agree on one density, which integrates to 1."""
    discrete = model()
    variables = scattered(discrete, 5)
    own = variables._replace(params=variables.params["dequantizer"], state=variables.state["dequantizer"])

    @jax.jit
    def log_q(u, images):
        y = jnp.log(u) - jnp.log1p(-u)
        noise, log_det = discrete.dequantizer.forward(own, y, images)
        base = jnp.log(jax.nn.sigmoid(noise) * jax.nn.sigmoid(-noise)).sum(axis=-1)
        return base + log_det - jnp.log(u * (1 - u)).sum(axis=-1)

    k = jnp.array([[0, 0], [0, 2], [1, 1]], jnp.uint8)
    images = jnp.array([[-1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])
    size = 300
    edges = 1 / (1 + np.exp(-np.linspace(-12, 12, size + 1)))  # finest near 0 and 1, where q may be peaked
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    grid = jnp.float32(np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2))
    for image in images:
        density = np.exp(np.float64(log_q(grid, jnp.broadcast_to(image, grid.shape)))).reshape(size, size)
        assert abs(width @ density @ width - 1) < 1e-2
        assert (width @ np.abs(density - 1) @ width) > 0.1  # not uniform
    keys = jax.random.split(jax.random.key(0), 100)
    v, log_q_samples = jax.jit(jax.vmap(lambda key: discrete.dequantize(variables, key, k)))(keys)
    u = (LEVELS * v - k[None]).reshape(-1, 2)
    assert ((u >= -1e-6) & (u <= 1 + 1e-6)).all()
    expected = log_q(jnp.clip(u, 1e-6, 1 - 1e-6), jnp.tile(images, (100, 1)))
    central = ((u > 0.01) & (u < 0.99)).all(axis=-1)  # near the edges, adding k costs u its digits
    assert central.mean() > 0.7
    np.testing.assert_allclose(log_q_samples.reshape(-1)[central], expected[central], atol=1e-3)


def test_training_the_dequantizer_closes_most_of_the_gap():
    """With the flow fixed, log-masses are constant and only the bound changes."""
    discrete, batch = model(), {"x": jnp.tile(ALL, (16, 1))}
    variables = scattered(discrete, 3)
    optimizer = optax.adam(2e-2)

    def loss(part, key):
        params = variables.params | {"dequantizer": part}
        value, (_, metrics) = discrete.loss(params, variables.state, key, batch, jnp.int32(0))
        return value, metrics["entropy"]

    def step(carry, key):
        part, state = carry
        gradient, entropy = jax.grad(loss, has_aux=True)(part, key)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(part, updates), state), entropy

    # A dequantizer whose last layers are zero, as at initialization, is uniform.
    hidden = variables.params["dequantizer"]["1"]["Dense_0"]
    start = jax.tree.map(jnp.zeros_like, variables.params["dequantizer"])
    start["1"]["Dense_0"] = hidden
    keys = jax.random.split(jax.random.key(0), 400)
    (part, _), entropy = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys))()
    assert abs(entropy[0]) < 1e-5
    assert entropy[-1] < -0.1  # the uniform density has the largest entropy, 0
    exact = exact_log_probs(discrete, variables).mean()

    @jax.jit
    def gap(part):
        changed = variables._replace(params=variables.params | {"dequantizer": part})
        return exact - discrete.log_prob_lower_bound(changed, jax.random.key(1), ALL, 8_000, chunk_size=2_000).mean()

    assert 0 < gap(part) < 0.5 * gap(start)


def test_samples_have_the_masses(reference):
    discrete, variables, exact, _ = reference
    x = np.asarray(jax.jit(discrete.sample, static_argnums=2)(variables, jax.random.key(0), 20_000))
    assert x.dtype == np.uint8
    counts = np.bincount(x[:, 0] * LEVELS + x[:, 1], minlength=LEVELS**2)
    assert len(counts) == LEVELS**2
    masses = np.exp(exact)
    assert (np.abs(counts / 20_000 - masses) < 5 * np.sqrt(masses / 20_000) + 1e-3).all()


def test_samples_beyond_the_support_are_clipped():
    density = flow.Flow(shape=(4,), bijection=flow.Elementwise(AFFINE))  # N(0, I), mostly outside of [0, 1]
    discrete = VariationalDequantization(flow=density, num_values=300, dtype="int32")
    variables = jax.jit(discrete.init)(jax.random.key(0), {"x": jnp.zeros((2, 4), jnp.int32)})
    x = jax.jit(discrete.sample, static_argnums=2)(variables, jax.random.key(1), 1_000)
    assert (x.dtype, x.min(), x.max()) == (jnp.int32, 0, 299)


def test_labels_reach_the_flow():
    discrete = model(num_classes=3)
    variables = scattered(discrete, 7)
    assert discrete.num_classes == 3
    label = jnp.arange(len(ALL), dtype=jnp.int32) % 3
    exact = np.stack([exact_log_probs(discrete, variables, label=y) for y in range(3)])
    assert np.abs(exact[0] - exact[1]).max() > 0.5
    _, runs = runs_of(discrete, variables, label=label)
    assert agree(np.exp(runs), np.exp(exact[label, np.arange(len(ALL))]), 1e-5)
    x = np.asarray(jax.jit(lambda key: discrete.sample(variables, key, 10_000, label=2))(jax.random.key(0)))
    counts = np.bincount(x[:, 0] * LEVELS + x[:, 1], minlength=LEVELS**2)
    assert (np.abs(counts / 10_000 - np.exp(exact[2])) < 0.03).all()
    with pytest.raises(ValueError, match="num_classes=3 needs 'label'"):
        discrete.loss(*variables, jax.random.key(0), {"x": ALL}, jnp.int32(0))


@pytest.mark.parametrize("reshaped", [False, True])
def test_images_condition_the_dequantizer(reshaped):
    """Checkerboards of an image, and halves of it as a vector, whose noise has another shape."""
    shape, pixels = (4, 4, 1), nets.ResidualCNN(4, num_blocks=0)
    board = (flow.Coupling(transform=AFFINE, net=pixels, parts="checkerboard"),)
    halves = (flow.Reshape(shape, (16,)), flow.Coupling(transform=AFFINE, net=nets.MLP((8,))))
    density = flow.Flow(shape=shape, bijection=flow.Chain((flow.Logit(), flow.ActNorm())))
    dequantizer = flow.Chain(halves if reshaped else board)
    discrete = VariationalDequantization(flow=density, dequantizer=dequantizer)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8))
    variables = scattered(discrete, 0, x)

    @jax.jit
    def dequantize(x):
        v, log_q = discrete.dequantize(variables, jax.random.key(3), x)
        return v, log_q, discrete.log_prob_lower_bound(variables, jax.random.key(2), x)

    v, log_q, bound = dequantize(x)
    assert (np.abs(256 * v - x - 0.5) <= 0.5).all()
    assert (bound > -2 * 16 * np.log(256)).all()
    # The draw for one image depends on all of that image and on no other.
    _, other, _ = dequantize(x.at[0, 0, 1].set(x[0, 0, 1] ^ 128))
    np.testing.assert_array_equal(other[1:], log_q[1:])
    assert other[0] != log_q[0]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.zeros((2, 2)), "x has dtype float32, but this model takes integers .*; omit the preprocessing"),
        (jnp.zeros((2, 3), jnp.uint8), r"x has shape \(2, 3\), but this model has shape=\(2,\)"),
        (jnp.zeros((2, 2), jnp.int32), "x has dtype int32, but this model has dtype='uint8'"),
        (
            jnp.full((2, 2), 4, jnp.uint8),
            "values from 4 to 4, but with num_values=3 they must be in 0 … 2; .* num_values=5",
        ),
    ],
)
def test_data_that_do_not_fit_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        model().init(jax.random.key(0), {"x": x})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_values": 1}, r"num_values is 1, but must be in \[2, 65536\]; use 256 for"),
        ({"num_values": 257}, "num_values is 257, but the maximum of dtype='uint8' is 255; use dtype='int32'"),
        ({"dtype": "float32"}, "dtype is 'float32', but must be 'uint8', "),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VariationalDequantization(flow=model().flow, **options)


def test_a_lone_call_within_jit_may_close_over_data():
    discrete = model()
    variables = scattered(discrete, 0)
    assert jax.jit(lambda key: discrete.log_prob_lower_bound(variables, key, ALL))(jax.random.key(1)).shape == (9,)
