"""Diffusion models, their parts, and functions that sample."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import diffusion, nets
from genjax.core import Variables
from genjax.diffusion import (
    grids,
    operators,
    parametrizations,
    posterior,
    processes,
    samplers,
    score_matching,
    times,
    weightings,
)

PACKAGES = (
    diffusion,
    diffusion.couplings,
    grids,
    operators,
    parametrizations,
    posterior,
    processes,
    samplers,
    score_matching,
    times,
    weightings,
)
EXCEPT = (parametrizations.Parametrization,)  # abstract
MODEL = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)))
DISCRETE = {
    "shape": (2,),
    "num_values": 3,
    "net": nets.TokenTransformer(num_values=3, num_layers=1, num_heads=1, features=4),
}
MEAN_FLOW = diffusion.MeanFlow(shape=(2,), net=nets.DenoisingMLP((4,)))
PROCESS, X = processes.Cosine(), jnp.zeros((3, 2))
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0), "num_samples": 2}


def denoise(x, t):
    """Return a prediction of nothing."""
    return parametrizations.Prediction(x, x)


CASES = (
    partial(diffusion.ConsistencyModel, denoiser=MODEL),
    partial(diffusion.Diffusion, shape=(2,), net=nets.DenoisingMLP((4,))),
    partial(diffusion.MaskedDiffusion, **DISCRETE),
    partial(diffusion.UniformDiffusion, **DISCRETE),
    partial(diffusion.VariationalDiffusion, shape=(2,), net=nets.DenoisingMLP((4,)), num_values=4),
    partial(diffusion.MeanFlow, shape=(2,), net=nets.DenoisingMLP((4,))),
    partial(diffusion.couplings.SinkhornCoupling),
    partial(diffusion.GridGap),
    partial(diffusion.ShrinkingGap),
    partial(grids.Custom, values=(1.0, 0.5)),
    partial(grids.Karras),
    partial(grids.Nested),
    *(
        partial(getattr(parametrizations, name))
        for name in ("Noise", "Data", "Score", "Velocity", "Flow", "Preconditioned")
    ),
    partial(operators.AveragePool, factor=2),
    partial(operators.GaussianBlur, scale=1.0),
    partial(operators.Grayscale),
    partial(operators.Mask, known=X > 0),
    partial(operators.Matrix, matrix=X),
    partial(posterior.DPS),
    partial(posterior.MomentMatching),
    partial(posterior.PiGDM),
    partial(processes.Cosine),
    partial(processes.DiscreteVariancePreserving),
    partial(processes.EDM),
    partial(processes.LinearPath),
    partial(processes.SubVariancePreserving),
    partial(processes.VarianceExploding),
    partial(processes.VariancePreserving),
    partial(samplers.Ancestral),
    partial(samplers.Churn, gamma=0.1),
    partial(samplers.DDIM),
    partial(samplers.DEIS),
    partial(samplers.DPMSolverPP),
    partial(samplers.Euler),
    partial(samplers.Heun),
    partial(samplers.PredictorCorrector),
    partial(samplers.ProbabilityFlow),
    partial(score_matching.Sliced),
    partial(times.DiscreteTimes),
    partial(times.LogNormal),
    partial(times.LogitNormal),
    partial(times.UniformLogSNR),
    partial(weightings.MinSNR),
    partial(diffusion.levels, process=PROCESS, grid=grids.LogSNR(), num_steps=3),
    partial(diffusion.classifier_guidance, denoise=denoise, process=PROCESS, log_prob=lambda x, t: x[:, 0]),
    partial(
        diffusion.distillation_targets,
        teacher=MODEL,
        variables=SAMPLE["variables"],
        key=SAMPLE["key"],
        batch={"x": X},
        num_steps=2,
    ),
    partial(
        diffusion.consistency_targets,
        model=diffusion.ConsistencyModel(denoiser=MODEL),
        variables=SAMPLE["variables"],
        key=SAMPLE["key"],
        batch={"x": X},
    ),
    partial(diffusion.distilled, teacher=MODEL, num_steps=2),
    partial(diffusion.dynamic_thresholding, denoise=denoise, process=PROCESS),
    partial(diffusion.edit, model=MODEL, variables=SAMPLE["variables"], key=SAMPLE["key"], x=X, strength=0.5),
    partial(MODEL.impute, variables=SAMPLE["variables"], key=SAMPLE["key"], x=X, mask=X > 0),
    partial(diffusion.posterior_guidance, denoise, PROCESS, X, operators.Mask(X > 0), noise_scale=0.1),
    partial(
        diffusion.restore,
        model=MODEL,
        variables=SAMPLE["variables"],
        key=SAMPLE["key"],
        y=X,
        operator=operators.Mask(X > 0),
        noise_scale=0.1,
    ),
    partial(diffusion.reflow_pairs, model=MODEL, variables=SAMPLE["variables"], key=SAMPLE["key"], num_pairs=2),
    partial(MODEL.sample, **SAMPLE),
    partial(diffusion.MaskedDiffusion(**DISCRETE).sample, **SAMPLE),
    partial(diffusion.MaskedDiffusion(**DISCRETE).log_prob_lower_bound, x=X, **SAMPLE),
    partial(diffusion.UniformDiffusion(**DISCRETE).sample, **SAMPLE),
    partial(MEAN_FLOW.sample, **SAMPLE),
    partial(MEAN_FLOW.decode, variables=SAMPLE["variables"], latent=X),
    partial(MEAN_FLOW.mean_velocity, variables=SAMPLE["variables"], x=X, r=jnp.zeros(3), t=jnp.ones(3)),
    partial(diffusion.ConsistencyModel(denoiser=MODEL).sample, **SAMPLE),
    partial(MODEL.log_prob_lower_bound, x=X, **SAMPLE),
    partial(MODEL.log_prob_estimate, x=X, **SAMPLE),
)
