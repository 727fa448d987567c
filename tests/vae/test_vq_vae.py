"""The VQ-VAE, with models small enough to sum over all grids of codes."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import nets, ops
from genjax.capabilities import (
    Decodes,
    Encodes,
    HasLogProb,
    HasLogProbLowerBound,
    Quantizes,
    Reconstructs,
)
from genjax.core import Variables
from genjax.learners import gradient_learner
from genjax.ops import quantization
from genjax.vae.vq_vae import VQVAE

NUM_CODES, CODE_DIM, GRID = 3, 2, (2, 2)


def make(**changes):
    fields = {
        "encoder": nets.MLP((8,), output_shape=(*GRID, CODE_DIM)),
        "decoder": nets.MLP((8, 4)),
        "likelihood": ops.Bernoulli(),
        "num_codes": NUM_CODES,
        "code_dim": CODE_DIM,
        "grid": GRID,
    }
    return VQVAE(**(fields | changes))


MODELS = {name: make(codebook=name) for name in ("ema", "loss")}


@pytest.fixture(scope="module")
def x():
    return jnp.array(list(itertools.product((0.0, 1.0), repeat=4)))


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def variables(model, x):
    """With a scaled decoder, so that codes have clearly different outputs."""
    params, state = jax.jit(model.init)(jax.random.key(0), {"x": x})
    return Variables(params | {"decoder": jax.tree.map(lambda p: 4.0 * p, params["decoder"])}, state)


def network(model, name, variables, inputs):
    return np.asarray(getattr(model, name).apply({"params": variables.params[name]}, inputs), np.float64)


def nearest(codes, vectors):
    """Indices of the nearest codes, by a loop over all vectors and codes."""
    flat = np.float64(vectors).reshape(-1, codes.shape[1])
    indices = [min(range(len(codes)), key=lambda k: np.sum((z - np.float64(codes[k])) ** 2)) for z in flat]
    return np.array(indices).reshape(vectors.shape[:-1])


@pytest.fixture(scope="module")
def terms(model, variables, x):
    """K^-P p(x | codes) for all 3^4 grids of codes and all 16 images: (81, 16), in double precision."""
    codes = np.asarray(model.codes(variables))
    grids = np.array(list(itertools.product(range(NUM_CODES), repeat=4))).reshape(-1, *GRID)
    on = 1.0 / (1.0 + np.exp(-network(model, "decoder", variables, jnp.asarray(codes[grids]))))
    mass = np.where(np.asarray(x)[None] == 1.0, on[:, None], 1.0 - on[:, None]).prod(-1)
    return mass / len(grids)


@pytest.fixture(scope="module")
def evaluated(model, variables, x):
    gradient = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
    return gradient(*variables, jax.random.key(6), {"x": x}, jnp.int32(0))


@pytest.fixture(scope="module")
def parts(model, variables, x):
    """Vectors, their codes, and the log-likelihood of x, in double precision."""
    codes, vectors = np.asarray(model.codes(variables)), network(model, "encoder", variables, x)
    used = codes[nearest(codes, vectors)]
    logits = network(model, "decoder", variables, jnp.asarray(used))
    log_prob = -np.log1p(np.exp(np.where(np.asarray(x) == 1.0, -logits, logits))).sum(-1)
    return vectors, np.float64(used), log_prob


def test_capabilities():
    model = MODELS["ema"]
    for protocol in (Encodes, Decodes, Quantizes, Reconstructs, HasLogProbLowerBound):
        assert isinstance(model, protocol)
    assert not isinstance(model, HasLogProb)
    assert model.discrete
    assert not make(likelihood=ops.Gaussian(log_scale=0.0)).discrete


class TestBound:
    def test_is_below_the_sum_over_all_grids_of_codes(self, model, variables, x, terms):
        exact = terms.sum(0)
        assert exact.sum() == pytest.approx(1.0)  # probabilities of all images
        bound = jax.jit(model.log_prob_lower_bound)(variables, jax.random.key(1), x)
        assert np.all(bound < np.log(exact))

    def test_is_the_term_of_the_sum_at_the_codes_of_the_data(self, model, variables, x, terms):
        indices = np.asarray(jax.jit(model.encode)(variables, x)).reshape(-1, 4)
        assert len({tuple(row) for row in indices.tolist()}) > 2
        places = indices @ NUM_CODES ** np.arange(3, -1, -1)
        bound = jax.jit(model.log_prob_lower_bound)(variables, jax.random.key(1), x)
        np.testing.assert_allclose(bound, np.log(terms[places, np.arange(16)]), rtol=1e-5)

    def test_samples_have_the_probabilities(self, model, variables, x, terms):
        samples = jax.jit(model.sample, static_argnums=2)(variables, jax.random.key(2), 20_000)
        frequencies = np.bincount(np.asarray(samples, int) @ [8, 4, 2, 1], minlength=16) / 20_000
        np.testing.assert_allclose(frequencies, terms.sum(0), atol=0.015)


class TestCodes:
    def test_are_the_nearest_to_the_encoders_vectors(self, model, variables, x):
        codes, vectors = np.asarray(model.codes(variables)), network(model, "encoder", variables, x)
        indices = jax.jit(model.encode)(variables, x)
        assert (indices.shape, indices.dtype) == ((16, *GRID), jnp.int32)
        np.testing.assert_array_equal(indices, nearest(codes, vectors))
        np.testing.assert_array_equal(model.quantize(variables, jnp.float32(vectors)), codes[indices])

    def test_decode_to_the_expected_data(self, model, variables, x):
        indices = model.encode(variables, x)
        logits = network(model, "decoder", variables, jnp.asarray(np.asarray(model.codes(variables))[indices]))
        decoded = model.decode(variables, indices)
        np.testing.assert_allclose(decoded, 1.0 / (1.0 + np.exp(-logits)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.reconstruct(variables, jax.random.key(3), x), decoded, rtol=1e-5)

    def test_start_at_centers_of_the_vectors(self, model, x):
        """k-means codes are the means of their vectors."""
        fresh = jax.jit(model.init)(jax.random.key(4), {"x": x})
        vectors = network(model, "encoder", fresh, x).reshape(-1, CODE_DIM)
        codes = np.asarray(model.codes(fresh))
        indices = nearest(codes, vectors)
        means = [vectors[indices == k].mean(0) for k in range(NUM_CODES)]
        np.testing.assert_allclose(codes, means, rtol=1e-4, atol=1e-4)

    def test_a_batch_with_fewer_vectors_than_codes_starts_at_them(self, x):
        model = make(num_codes=30, kmeans_steps=2)
        fresh = jax.jit(model.init)(jax.random.key(5), {"x": x[3:5]})
        vectors = network(model, "encoder", fresh, x[3:5])
        np.testing.assert_allclose(model.quantize(fresh, jnp.float32(vectors)), vectors, atol=1e-5)


class TestLoss:
    def test_is_the_sum_of_its_terms(self, model, evaluated, parts):
        (loss, (_, metrics)), _ = evaluated
        vectors, used, log_prob = parts
        distance = np.sum((vectors - used) ** 2, axis=(1, 2, 3)).mean()
        weight = {"ema": 0.25, "loss": 1.25}[model.codebook]
        np.testing.assert_allclose(metrics["reconstruction"], log_prob.mean(), rtol=1e-5)
        np.testing.assert_allclose(metrics["commitment"], distance, rtol=1e-4)
        np.testing.assert_allclose(loss, weight * distance - log_prob.mean(), rtol=1e-5)

    def test_gradients_go_where_the_paper_sends_them(self, model, variables, x, evaluated, parts):
        """The encoder gets the decoder's gradient at the codes and that of its commitment; codes are constant."""
        _, gradients = evaluated
        vectors, used, _ = (jnp.asarray(part, jnp.float32) for part in parts)

        def reconstruction(decoder, codes):
            return -jnp.mean(model.likelihood.log_prob(model.decoder.apply({"params": decoder}, codes), x))

        to_decoder, at_codes = jax.grad(reconstruction, argnums=(0, 1))(variables.params["decoder"], used)
        to_vectors = at_codes + 0.25 * 2.0 * (vectors - used) / 16
        pull = jax.vjp(lambda p: model.encoder.apply({"params": p}, x), variables.params["encoder"])[1]
        expected = {"decoder": to_decoder, "encoder": pull(to_vectors)[0]}
        if model.codebook == "loss":
            indices = np.asarray(model.encode(variables, x))
            to_codes = [2.0 * np.sum(np.asarray(used - vectors)[indices == k], axis=0) / 16 for k in range(NUM_CODES)]
            expected["codebook"] = {"codes": np.stack(to_codes)}
        assert set(gradients) == set(expected)
        for part, gradient in expected.items():
            for actual, wanted in zip(jax.tree.leaves(gradients[part]), jax.tree.leaves(gradient), strict=True):
                np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-5, err_msg=part)

    def test_use_of_the_batchs_codes(self, model, variables, x, evaluated):
        (_, (_, metrics)), _ = evaluated
        shares = np.bincount(np.asarray(model.encode(variables, x)).reshape(-1), minlength=NUM_CODES) / 64
        assert metrics["codebook_usage"] == np.mean(shares > 0)
        used = shares[shares > 0]
        np.testing.assert_allclose(metrics["code_perplexity"], np.prod(used**-used), rtol=1e-5)

    def test_moving_codes_are_pulled_to_the_means_of_their_vectors(self, model, variables, x, evaluated):
        (_, (state, _)), _ = evaluated
        if model.codebook == "loss":
            assert not jax.tree.leaves(state)
            return
        vectors = network(model, "encoder", variables, x).reshape(-1, CODE_DIM)
        indices = np.asarray(model.encode(variables, x)).reshape(-1)
        new_codes = np.asarray(model.codes(Variables(variables.params, state)))
        for k, start in enumerate(np.asarray(model.codes(variables))):
            old, new = 0.99 * 64 / NUM_CODES, 0.01 * np.sum(indices == k)
            expected = (old * start + 0.01 * vectors[indices == k].sum(0)) / (old + new)
            np.testing.assert_allclose(new_codes[k], expected, rtol=1e-4, atol=1e-5)


class Normalized(nn.Module):
    """A network with batch statistics and dropout."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = nn.gelu(nn.Dense(8)(x.reshape(len(x), -1)))
        hidden = nn.BatchNorm(use_running_average=not train)(hidden)
        hidden = nn.Dropout(0.2, deterministic=not train)(hidden)
        return nn.Dense(int(np.prod(self.shape)))(hidden).reshape(-1, *self.shape)


def test_the_networks_have_state(x):
    model = make(encoder=Normalized((*GRID, CODE_DIM)), decoder=Normalized((4,)))
    variables = jax.jit(model.init)(jax.random.key(7), {"x": x})
    assert not np.any(variables.state.encoder["batch_stats"]["BatchNorm_0"]["mean"])
    _, (state, _) = jax.jit(model.loss)(*variables, jax.random.key(8), {"x": x}, 0)
    for part in ("encoder", "decoder"):
        assert np.any(getattr(state, part)["batch_stats"]["BatchNorm_0"]["mean"])
    assert jax.tree.structure(state) == jax.tree.structure(variables.state)


def test_restarts_revive_dead_codes_in_training(x):
    """If all codes are far from the vectors, one of them takes all vectors without restarts."""
    model = make(decay=0.9, restart_below=0.3, num_codes=8)
    learner = gradient_learner(model, optax.adam(1e-3))
    train = learner.init(jax.random.key(9), {"x": x})
    away = 1e3 + jnp.arange(8.0)[:, None] * jnp.ones((8, CODE_DIM))
    train = train.replace(state=train.state._replace(codebook=quantization.start_codebook(away, 64)))

    def step(train, key):
        train, metrics = learner.step(train, key, {"x": x})
        return train, metrics["codebook_usage"]

    usage = jax.jit(lambda t: jax.lax.scan(step, t, jax.random.split(jax.random.key(10), 50)))(train)[1]
    assert usage[0] == 1 / 8
    assert usage[-1] == 1.0


@pytest.mark.slow
def test_learns_a_code_for_each_of_sixteen_images(x):
    """The bound reaches the log-probability of uniform data, -log 16. Without restarts two to four codes are lost."""
    model = make(
        encoder=nets.MLP((32, 2)),
        decoder=nets.MLP((32, 4)),
        grid=(),
        num_codes=16,
        commitment=2.0,
        decay=0.9,
        restart_below=0.3,
    )
    learner = gradient_learner(model, optax.adam(1e-2))
    train = learner.init(jax.random.key(11), {"x": x})
    keys = jax.random.split(jax.random.key(12), 1_000)
    train, _ = jax.jit(lambda t: jax.lax.scan(lambda t, k: learner.step(t, k, {"x": x}), t, keys))(train)
    assert len(set(model.encode(train.variables, x).tolist())) == 16
    bound = model.log_prob_lower_bound(train.variables, jax.random.key(13), x)
    np.testing.assert_allclose(bound, -np.log(16), atol=0.01)
    np.testing.assert_allclose(model.reconstruct(train.variables, jax.random.key(14), x), x, atol=0.01)


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"num_codes": 0}, "num_codes is 0, but must be at least 1"),
            ({"code_dim": 0}, "code_dim is 0, but must be at least 1"),
            ({"grid": (7, 0)}, r"grid is \(7, 0\), but must be a tuple whose every entry is at least 1, and 0 is not"),
            ({"commitment": -1.0}, "commitment is -1.0, but must be at least 0"),
            ({"kmeans_steps": -1}, "kmeans_steps is -1, but must be at least 0"),
            ({"codebook": "moving"}, "codebook is 'moving', but must be 'ema' or 'loss'"),
            ({"decay": 1.0}, r"decay is 1.0, but must be in \[0, 1\); use 0.99"),
            ({"restart_below": float("nan")}, "restart_below is nan, but must be a finite number or None; use 0.05"),
            (
                {"restart_below": 0.1, "codebook": "loss"},
                "restart_below is 0.1, but codes learned by gradients cannot restart",
            ),
        ],
    )
    def test_fields(self, changes, message):
        with pytest.raises(ValueError, match=message):
            make(**changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"encoder": nets.MLP((8,))},
                r"encoder returned shape \(16, 8\), but grid=\(2, 2\) with code_dim=2 needs \(16, 2, 2, 2\): give its",
            ),
            (
                {"decoder": nets.MLP((5,))},
                r"decoder returned shape \(16, 5\), but Bernoulli\(\) for x of shape \(16, 4\) needs \(16, 4\): give",
            ),
        ],
    )
    def test_networks_that_do_not_fit(self, x, changes, message):
        with pytest.raises(ValueError, match=message):
            make(**changes).init(jax.random.key(0), {"x": x})

    def test_data_without_axes(self):
        with pytest.raises(ValueError, match=r"x has shape \(4,\), but needs a batch axis and data axes; reshape it"):
            make().init(jax.random.key(0), {"x": jnp.zeros(4)})


def test_models_with_equal_fields_are_equal():
    model = MODELS["ema"]
    assert dataclasses.replace(model, commitment=1.0) != model
    assert hash(make()) == hash(make())
