"""A prior over codes: its samples decode the prior's, and its second stage sees the finished codes of the first."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data, gradient_learner, latent, nets, ops, train, vae
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


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(0), {"x": jnp.ones((4, 5))})


def test_samples_are_decoded_draws_of_the_prior(variables):
    codes = OUTER.sample(MODEL.part(variables, "prior"), jax.random.key(1), 6)
    expected = INNER.decode(MODEL.part(variables, "autoencoder"), codes)
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(1), 6), expected, rtol=1e-5)


def test_parts_join_to_what_they_came_from(variables):
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


def test_a_conditional_prior_makes_the_whole_conditional():
    model = latent.LatentModel(autoencoder=INNER, prior=make_vae(3, 2, num_classes=4))
    batch = {"x": jnp.ones((4, 5)), "label": jnp.arange(4)}
    variables = model.init(jax.random.key(0), batch)
    assert model.num_classes == 4
    zero, one = (model.sample(variables, jax.random.key(1), 2, label=label) for label in (0, 1))
    assert not np.allclose(zero, one)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="autoencoder is a object, which does not both encode and decode"):
        latent.LatentModel(autoencoder=object(), prior=OUTER)
    with pytest.raises(ValueError, match="autoencoder is a VAE with num_classes=2"):
        latent.LatentModel(autoencoder=make_vae(5, 3, num_classes=2), prior=OUTER)


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
        variables=MODEL.finished,
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
