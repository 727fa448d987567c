"""Generative models of every family in JAX, under one functional contract.

>>> from genjax import data, nets, ops, vae  # the parts
>>> from genjax import Experiment, train  # the runner
"""

from genjax import autoregressive, boltzmann, data, diffusion, flow, gan, latent, moment_matching, nets, ops, vae
from genjax.core import GenerativeModel, Learner, Objective, TrainState, Variables
from genjax.experiment import Experiment
from genjax.learners import Stage, gradient_learner
from genjax.optimizers import clip_params
from genjax.runner import Run, load_run, train

__version__ = "0.1.0"

__all__ = [
    "Experiment",
    "GenerativeModel",
    "Learner",
    "Objective",
    "Run",
    "Stage",
    "TrainState",
    "Variables",
    "autoregressive",
    "boltzmann",
    "clip_params",
    "data",
    "diffusion",
    "flow",
    "gan",
    "gradient_learner",
    "latent",
    "load_run",
    "moment_matching",
    "nets",
    "ops",
    "train",
    "vae",
]
