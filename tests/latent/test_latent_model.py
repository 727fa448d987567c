"""A prior over codes: samples are decoded draws of the prior, whose stage trains on the codes of the first stage."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import autoregressive, data, diffusion, gradient_learner, latent, nets, ops, train, vae
from genjax.capabilities import Condition, conditioning, likelihoods, num_classes
from genjax.cli.flags import flags_of_sample
from genjax.core import Objective, Variables
from genjax.runner import Experiment


def make_vae(size, latent_dim, **options):
    return vae.VAE(
        latent_dim=latent_dim,
        encoder=nets.MLP((8, 2 * latent_dim)),
        decoder=nets.MLP((8, size)),
        likelihood=ops.Gaussian(log_scale=-1.0),
        **options,
    )


INNER, OUTER = make_vae(5, 3), make_vae(3, 2)
MODEL = latent.LatentModel(autoencoder=INNER, prior=OUTER)
QUANTIZED = vae.VQVAE(
    encoder=nets.MLP((8,), output_shape=(2, 2)),
    decoder=nets.MLP((8, 5)),
    likelihood=ops.Bernoulli(),
    num_codes=3,
    code_dim=2,
    grid=(2,),
)


@final
@dataclass(frozen=True, kw_only=True)
class Blurred:
    """Draws codes around zero with a standard deviation of ``temperature``; takes labels and ignores them."""

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples, *, label=None, temperature=1.0):
        return temperature * jax.random.normal(key, (num_samples, 3))


@final
@dataclass(frozen=True, kw_only=True)
class Shifted:
    """Codes N(offset, 1), where the offset (B, 3) is a condition that is no label."""

    @property
    def conditions(self):
        return (Condition(name="offset", kind="array", shape=(3,)),)

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return (Objective(name="distance", wrt=(), loss=self.loss),)

    def loss(self, params, state, key, batch, step):
        distance = jnp.mean(jnp.square(batch["x"] - conditioning(self, batch)["offset"]))
        return distance, (state, {})

    def sample(self, variables, key, num_samples, *, offset):
        return offset + jax.random.normal(key, (num_samples, 3))


@final
@dataclass(frozen=True, kw_only=True)
class Sampled:
    """An autoencoder whose posterior can only be sampled."""

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jnp.zeros((num_samples, 5))

    def encode(self, variables, x):
        return x[:, :3]

    def decode(self, variables, latent):
        return jnp.zeros((latent.shape[0], 5))

    def sample_posterior(self, variables, key, x):
        return x[:, :3]


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(0), {"x": jnp.ones((4, 5))})


def test_samples_are_decoded_draws_of_the_prior(variables):
    codes = OUTER.sample(MODEL.part(variables, "prior"), jax.random.key(1), 6)
    expected = INNER.decode(MODEL.part(variables, "autoencoder"), codes)
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(1), 6), expected, rtol=1e-5)


def test_codes_of_a_diverged_prior_are_not_decoded():
    prior = autoregressive.MADE(shape=(2,), num_values=3, features=(4,))
    model = latent.LatentModel(autoencoder=QUANTIZED, prior=prior)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    params = {
        name: jax.tree.map(lambda a: a * jnp.nan, part) if name == "prior.net" else part
        for name, part in variables.params.items()
    }
    sample = jax.jit(model.sample, static_argnums=2)
    assert np.isfinite(sample(variables, jax.random.key(1), 4)).all()
    assert np.isnan(sample(Variables(params, variables.state), jax.random.key(1), 4)).all()


def test_joining_the_parts_restores_the_variables(variables):
    parts = [MODEL.part(variables, name) for name in ("autoencoder", "prior")]
    again = MODEL.join(*parts)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    assert sorted(parts[0].params) == sorted(parts[1].params) == ["decoder", "encoder"]


def test_gradients_of_the_prior_stop_at_the_codes(variables):
    objectives = {objective.name: objective for objective in MODEL.objectives()}
    assert sorted(objectives) == ["autoencoder.elbo", "prior.elbo"]
    batch = {"x": jnp.linspace(-1.0, 1.0, 20).reshape(4, 5)}
    gradient = jax.grad(
        lambda params: objectives["prior.elbo"].loss(params, variables.state, jax.random.key(2), batch, jnp.int32(0))[0]
    )(variables.params)
    sizes = {part: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree)) for part, tree in gradient.items()}
    assert sizes["autoencoder.encoder"] == sizes["autoencoder.decoder"] == 0
    assert min(sizes["prior.encoder"], sizes["prior.decoder"]) > 0


def test_a_conditional_prior_makes_the_model_conditional():
    model = latent.LatentModel(autoencoder=INNER, prior=make_vae(3, 2, num_classes=4))
    batch = {"x": jnp.ones((4, 5)), "label": jnp.arange(4)}
    variables = model.init(jax.random.key(0), batch)
    assert num_classes(model) == 4
    zero, one = (model.sample(variables, jax.random.key(1), 2, label=label) for label in (0, 1))
    assert not np.allclose(zero, one)


def test_codes_and_their_data_are_the_same_for_all_labels(variables):
    model = latent.LatentModel(autoencoder=INNER, prior=make_vae(3, 2, num_classes=4))
    x, label = jnp.linspace(-1.0, 1.0, 20).reshape(4, 5), jnp.arange(4)
    codes = model.encode(variables, x, label=label)
    np.testing.assert_array_equal(codes, MODEL.encode(variables, x))
    np.testing.assert_array_equal(model.decode(variables, codes, label=1), MODEL.decode(variables, codes))
    again = model.reconstruct(variables, jax.random.key(0), x, label=label)
    np.testing.assert_array_equal(again, MODEL.decode(variables, codes))


def test_the_prior_may_have_conditions_of_any_kind(variables):
    model = latent.LatentModel(autoencoder=INNER, prior=Shifted())
    batch = {"x": jnp.linspace(-1.0, 1.0, 20).reshape(4, 5), "offset": jnp.arange(12.0).reshape(4, 3)}
    condition = conditioning(model, batch)
    assert list(condition) == ["offset"]
    noise = jax.random.normal(jax.random.key(1), (4, 3))
    samples = model.sample(variables, jax.random.key(1), 4, **condition)
    np.testing.assert_allclose(samples, MODEL.decode(variables, noise + batch["offset"]), rtol=1e-5)
    codes = model.encode(variables, batch["x"], **condition)
    np.testing.assert_array_equal(codes, MODEL.encode(variables, batch["x"]))
    loss = {o.name: o.loss for o in model.objectives()}["prior.distance"]
    value, _ = loss(*variables, jax.random.key(2), batch, jnp.int32(0))
    np.testing.assert_allclose(value, np.mean((codes - batch["offset"]) ** 2), rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"'label' is given, but the conditions of the prior are \['offset'\]; leave it"
    ):
        model.encode(variables, batch["x"], label=0)


def test_sampling_options_are_those_of_the_prior(variables):
    model = latent.LatentModel(autoencoder=INNER, prior=Blurred())
    certain = model.sample(variables, jax.random.key(0), 3, temperature=0.0, label=1)
    np.testing.assert_allclose(certain, model.decode(variables, jnp.zeros((3, 3))), rtol=1e-6)


def test_the_command_line_takes_the_options_of_the_prior():
    flags = flags_of_sample(latent.LatentModel(autoencoder=INNER, prior=Blurred()), data.digits(), {"temperature": 0.5})
    assert {field.name: field.default for field in dataclasses.fields(flags)} == {"label": None, "temperature": 0.5}


@pytest.fixture(scope="module")
def learned():
    model = latent.LatentModel(autoencoder=QUANTIZED, prior=vae.FactorizedCategorical(num_values=3))
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (6, 5)).astype(jnp.float32)
    variables = model.init(jax.random.key(1), {"x": x})
    logits = jax.random.normal(jax.random.key(2), (2, 3))
    return model, variables._replace(params=variables.params | {"prior.logits": logits}), x


class TestBound:
    """With a codebook, the bound is one term of the sum over all grids of codes."""

    def test_is_a_term_of_the_sum_and_below_it(self, learned):
        model, variables, x = learned
        inner = model.part(variables, "autoencoder")
        grids = jnp.array(list(itertools.product(range(3), repeat=2)))
        log_prior = np.log(jax.nn.softmax(variables.params["prior.logits"]))[[0, 1], grids].sum(1)
        terms = (
            np.stack([QUANTIZED.log_likelihood(inner, jnp.tile(grid, (6, 1)), x) for grid in grids])
            + log_prior[:, None]
        )
        bound = model.log_prob_lower_bound(variables, jax.random.key(3), x)
        codes = np.asarray(QUANTIZED.encode(inner, x))
        np.testing.assert_allclose(bound, terms[3 * codes[:, 0] + codes[:, 1], np.arange(6)], rtol=1e-5)
        assert (bound < np.logaddexp.reduce(terms)).all()

    def test_with_a_uniform_prior_it_is_the_bound_of_the_autoencoder(self, learned):
        model, variables, x = learned
        uniform = variables._replace(params=variables.params | {"prior.logits": jnp.zeros((2, 3))})
        own = QUANTIZED.log_prob_lower_bound(model.part(uniform, "autoencoder"), jax.random.key(3), x)
        np.testing.assert_allclose(model.log_prob_lower_bound(uniform, jax.random.key(3), x), own, rtol=1e-5)

    def test_with_a_masked_diffusion_its_bound_takes_the_place_of_the_mass(self, learned):
        _, variables, x = learned
        prior = diffusion.MaskedDiffusion(
            shape=(2,),
            num_values=3,
            net=nets.TokenTransformer(num_values=3, num_layers=1, num_heads=1, features=4),
            num_classes=2,
        )
        model = latent.LatentModel(autoencoder=QUANTIZED, prior=prior)
        inner = latent.LatentModel(autoencoder=QUANTIZED, prior=vae.FactorizedCategorical(num_values=3)).part(
            variables, "autoencoder"
        )
        codes, label = QUANTIZED.encode(inner, x), jnp.arange(6) % 2
        outer = prior.init(jax.random.key(1), {"x": codes, "label": label})
        joined = model.join(inner, outer)
        expected = prior.log_prob_lower_bound(outer, jax.random.key(2), codes, label=label)
        expected = expected + QUANTIZED.log_likelihood(inner, codes, x)
        bound = model.log_prob_lower_bound(joined, jax.random.key(2), x, label=label)
        np.testing.assert_allclose(bound, expected, rtol=1e-5)
        drawn = model.sample(joined, jax.random.key(3), 4, label=1, num_steps=1, order="confidence", guidance=2.0)
        assert drawn.shape == (4, 5)
        continuous = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)))
        assert likelihoods(latent.LatentModel(autoencoder=QUANTIZED, prior=continuous)) == ()

    def test_exists_only_for_codebooks_and_normalized_priors(self, learned, variables):
        model, _, _ = learned
        assert likelihoods(model) == ("log_prob_lower_bound",)
        assert model.discrete
        assert likelihoods(MODEL) == ()
        with pytest.raises(
            ValueError, match="a VAE over the codes of a VAE has no bound on the likelihood; use a VQVAE and"
        ):
            MODEL.log_prob_lower_bound(variables, jax.random.key(0), jnp.ones((4, 5)))


def test_the_second_stage_trains_on_codes_of_the_finished_first(variables):
    learners = {
        "autoencoder": gradient_learner(INNER, optax.sgd(0.1)),
        "prior": gradient_learner(OUTER, optax.sgd(0.1)),
    }
    stages = latent.two_stages(MODEL, **learners, steps=(1, 1))
    batch = {"x": jnp.linspace(-1.0, 1.0, 20).reshape(4, 5), "label": jnp.arange(4)}
    finished = MODEL.part(variables, "autoencoder")
    prior_batch = stages[1].batch({"autoencoder": finished})(jax.random.key(0), batch)
    np.testing.assert_array_equal(prior_batch["x"], INNER.encode(finished, batch["x"]))
    np.testing.assert_array_equal(prior_batch["label"], batch["label"])
    assert np.std(prior_batch["x"]) > 0


def test_the_prior_learns_samples_of_the_posterior_if_asked(variables):
    model = dataclasses.replace(MODEL, sample_codes=True)
    learner = gradient_learner(INNER, optax.sgd(0.1))
    stage = latent.two_stages(model, autoencoder=learner, prior=learner, steps=(1, 1))[1]
    finished = MODEL.part(variables, "autoencoder")
    x = jnp.tile(jnp.linspace(-1.0, 1.0, 5), (20_000, 1))
    codes = stage.batch({"autoencoder": finished})(jax.random.key(0), {"x": x})["x"]
    mean, log_var = INNER.posterior(finished, x[:1])
    np.testing.assert_allclose(jnp.mean(codes, axis=0), mean[0], atol=0.05)
    np.testing.assert_allclose(jnp.log(jnp.var(codes, axis=0)), log_var[0], atol=0.05)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="autoencoder has 3 codes, but the prior models 4 values; make the two equal"):
        latent.LatentModel(autoencoder=QUANTIZED, prior=vae.FactorizedCategorical(num_values=4))
    with pytest.raises(ValueError, match="autoencoder has 3 codes, but the prior models 5 values"):
        latent.LatentModel(autoencoder=QUANTIZED, prior=autoregressive.pixel_cnn(shape=(2, 2), num_values=5))
    with pytest.raises(ValueError, match=r"any object with init, .* encode and decode"):
        latent.LatentModel(autoencoder=object(), prior=OUTER)
    with pytest.raises(
        ValueError, match=r"autoencoder is a VAE that needs 'label', but a LatentModel .*; use an uncond"
    ):
        latent.LatentModel(autoencoder=make_vae(5, 3, num_classes=2), prior=OUTER)
    with pytest.raises(ValueError, match="sample_codes is True, but autoencoder is a VQVAE without sample_posterior"):
        latent.LatentModel(autoencoder=QUANTIZED, prior=vae.FactorizedCategorical(num_values=3), sample_codes=True)


def test_two_stages_train_one_after_the_other():
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    learners = {
        "autoencoder": gradient_learner(INNER, optax.adam(1e-2)),
        "prior": gradient_learner(OUTER, optax.adam(1e-2)),
    }
    experiment = Experiment(
        model=MODEL,
        data=data.arrays(x),
        stages=latent.two_stages(MODEL, **learners, steps=(3, 5)),
        variables=MODEL.join_stages,
        batch_size=16,
        log_every=1,
    )
    run = train(experiment, progress=False)
    assert run.step == 8
    assert run.sample(jax.random.key(0), 7).shape == (7, 5)
    alone = train(
        Experiment(
            model=INNER, data=experiment.data, learner=learners["autoencoder"], steps=3, batch_size=16, log_every=1
        ),
        progress=False,
    )
    assert jax.tree.structure(MODEL.part(run.variables, "autoencoder")) == jax.tree.structure(alone.variables)


def staged(model, data_set, steps=(2, 6), *, cache, **options):
    """Train both stages of a model."""
    learners = {
        "autoencoder": gradient_learner(model.autoencoder, optax.sgd(0.01)),
        "prior": gradient_learner(model.prior, optax.sgd(0.01)),
    }
    experiment = Experiment(
        model=model,
        data=data_set,
        stages=latent.two_stages(model, **learners, steps=steps, cache=cache),
        variables=model.join_stages,
        batch_size=16,
        log_every=2,
    )
    return train(experiment, progress=False, **options)


@pytest.mark.parametrize("seeds", [1, 2])
def test_cached_codes_are_those_computed_in_the_step(seeds):
    """Encoding draws nothing here, so that both trainings are the same."""
    x = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    in_step, cached = (staged(MODEL, data.arrays(x), cache=cache, seeds=seeds) for cache in (False, True))
    for a, b in zip(jax.tree.leaves(in_step.variables), jax.tree.leaves(cached.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_cached_moments_are_drawn_from_in_every_step(variables):
    model = dataclasses.replace(MODEL, sample_codes=True)
    learner = gradient_learner(INNER, optax.sgd(0.1))
    stage = latent.two_stages(model, autoencoder=learner, prior=learner, steps=(1, 1), cache=True)[1]
    finished = {"autoencoder": MODEL.part(variables, "autoencoder")}
    batch = {"x": jnp.tile(jnp.linspace(-1.0, 1.0, 5), (20_000, 1)), "label": jnp.arange(20_000)}
    assert stage.cache is not None
    kept = stage.cache(finished)(jax.random.key(0), batch)
    mean, log_var = INNER.posterior(finished["autoencoder"], batch["x"][:1])
    np.testing.assert_allclose(kept["x"][:1], mean, rtol=1e-5)
    drawn = [stage.batch(finished)(jax.random.key(i), kept) for i in (1, 2)]
    assert sorted(drawn[0]) == ["label", "x"]
    assert not np.allclose(drawn[0]["x"], drawn[1]["x"])
    np.testing.assert_allclose(jnp.mean(drawn[0]["x"], axis=0), mean[0], atol=0.05)
    np.testing.assert_allclose(jnp.log(jnp.var(drawn[0]["x"], axis=0)), log_var[0], atol=0.05)
    np.testing.assert_array_equal(stage.examples(finished)(jax.random.key(3), batch)["label"], batch["label"])


def test_draws_without_a_gaussian_posterior_are_not_cached():
    model = latent.LatentModel(autoencoder=Sampled(), prior=OUTER, sample_codes=True)
    learner = gradient_learner(INNER, optax.sgd(0.1))
    with pytest.raises(ValueError, match="cache and sample_codes are True, but autoencoder is a Sampled without"):
        latent.two_stages(model, autoencoder=learner, prior=learner, steps=(1, 1), cache=True)


def test_a_cache_that_no_device_holds_is_refused(monkeypatch):
    monkeypatch.setattr("genjax.runner.loop.RESIDENT_BYTES", 400)
    with pytest.raises(ValueError, match=r"the cache of stage 'prior' takes .* GB, but at most"):
        staged(MODEL, data.arrays(np.zeros((40, 5), np.float32) + np.arange(5, dtype=np.float32)), cache=True)
