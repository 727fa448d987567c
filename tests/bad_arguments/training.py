"""Experiments, learners, stages and optimizers, and the models of codes and of moments that are made of others."""

from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax

import genjax
from genjax import data, latent, learners, moment_matching, nets, optimizers
from genjax.core import Variables
from genjax.experiment import Experiment
from genjax.export import export_run
from genjax.export.programs import make_program
from genjax.runner import Run
from tests.bad_arguments.vae import VAE

PACKAGES = (latent, learners, moment_matching)
LEARNER = genjax.gradient_learner(VAE, optax.sgd(0.1))
X = jnp.zeros((3, 5))
CODES = {"model": VAE, "variables": Variables({}, {})}
EXPERIMENT = Experiment(
    model=VAE, data=data.arrays(np.zeros((200, 2)), name="zeros"), optimizer=optax.sgd(0.1), steps=100
)
RUN = Run(experiment=EXPERIMENT, variables=Variables({}, {}), seeds=(0,), step=0, rows=(), folder=None)
CASES = (
    partial(export_run, run=RUN, out=Path("export")),
    partial(make_program, name="sample", experiment=EXPERIMENT, variables=Variables({}, {})),
    partial(
        Experiment, model=VAE, data=data.arrays(np.zeros((200, 2)), name="zeros"), optimizer=optax.sgd(0.1), steps=100
    ),
    partial(genjax.gradient_learner, model=VAE, optimizers=optax.sgd(0.1)),
    partial(genjax.Stage, name="first", learner=lambda _: LEARNER, steps=10),
    partial(genjax.clip_params, limit=0.1),
    partial(optimizers.muon_and_adam, muon_learning_rate=0.1, adam_learning_rate=0.1, warmup_steps=0, steps=10),
    partial(moment_matching.Drifting, latent_dim=2, generator=nets.MLP((4,)), widths=(1.0,)),
    partial(moment_matching.drift, x=jnp.zeros((3, 2)), data=jnp.ones((3, 2)), samples=jnp.ones((3, 2)), width=1.0),
    partial(moment_matching.GMMN, latent_dim=2, generator=nets.MLP((4,)), bandwidths=(1.0,)),
    partial(latent.LatentModel, autoencoder=VAE, prior=VAE),
    partial(latent.UnitScale, model=VAE),
    partial(
        latent.two_stages,
        model=latent.LatentModel(autoencoder=VAE, prior=VAE),
        autoencoder=LEARNER,
        prior=LEARNER,
        steps=(1, 1),
    ),
    partial(latent.greedy_stages, models=(VAE,), learners=(lambda _: LEARNER,), steps=(1,)),
    partial(latent.interpolate, x=X, y=X, num_steps=3, **CODES),
    partial(latent.traverse, latent=jnp.zeros(2), values=jnp.zeros(3), **CODES),
    partial(latent.attribute_vector, x=X, has_attribute=jnp.array([True, False, True]), **CODES),
    partial(latent.add_attribute, x=X, vector=jnp.zeros(2), strengths=jnp.zeros(2), **CODES),
)
