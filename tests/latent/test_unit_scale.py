"""Codes of unit scale: what the model learns, and what samples are multiplied by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import diffusion, gan, gradient_learner, latent, nets, ops, vae
from genjax.cli.flags import flags_of_sample
from genjax.data import digits

INNER = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)), num_classes=10, num_steps=2)
MODEL = latent.UnitScale(model=INNER)
BATCH = {"x": 5.0 * jax.random.normal(jax.random.key(0), (64, 2)), "label": jnp.arange(64) % 10}


def test_the_model_learns_codes_of_unit_standard_deviation():
    variables = MODEL.init(jax.random.key(1), BATCH)
    deviation = np.std(np.asarray(BATCH["x"]))
    np.testing.assert_allclose(variables.state["scale"], deviation, rtol=1e-5)
    inner = INNER.init(jax.random.key(1), BATCH)
    scaled = {**BATCH, "x": BATCH["x"] / deviation}
    (objective,), arguments = MODEL.objectives(), (jax.random.key(2), BATCH, jnp.int32(0))
    loss, (state, _) = objective.loss(*variables, *arguments)
    expected, _ = INNER.loss(*inner, jax.random.key(2), scaled, jnp.int32(0))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(state["scale"], variables.state["scale"])
    x = MODEL.sample(variables, jax.random.key(3), 4, label=3, guidance=2.0)
    plain = INNER.sample(inner, jax.random.key(3), 4, label=3, guidance=2.0)
    np.testing.assert_allclose(x, deviation * plain, rtol=1e-5)


def test_constant_codes_keep_their_scale():
    variables = MODEL.init(jax.random.key(1), {**BATCH, "x": jnp.ones((64, 2))})
    assert variables.state["scale"] == 1


def test_flags_and_conditions_are_those_of_the_model():
    autoencoder = vae.VAE(latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli())
    model = latent.LatentModel(autoencoder=autoencoder, prior=MODEL)
    assert [condition.name for condition in model.conditions] == ["label"]
    flags = {field.name for field in flags_of_sample(model, digits(), {}).__dataclass_fields__.values()}
    assert {"guidance", "num_steps", "sampler", "label"} <= flags


def test_the_scale_is_kept_by_training():
    learner = gradient_learner(MODEL, optax.sgd(0.1))
    state = learner.init(jax.random.key(4), BATCH)
    after, _ = jax.jit(learner.step)(state, jax.random.key(5), {**BATCH, "x": BATCH["x"] / 3})
    np.testing.assert_array_equal(after.state["scale"], state.state["scale"])


def test_models_of_several_objectives_are_refused():
    noise = nets.MLP((2,))
    game = gan.GAN(latent_dim=2, generator=noise, discriminator=nets.MLP((1,)))
    with pytest.raises(ValueError, match=r"model has the objectives \['discriminator', 'generator'\], but UnitScale"):
        latent.UnitScale(model=game)
