"""Energy models, their bases, kernels and rules."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import energy, flow, nets

PACKAGES = (energy, energy.kernels, energy.rules)
EXCEPT = (
    energy.EnergyDensity,  # pytrees, whose leaves may be anything
    energy.Chains,
    energy.kernels.KernelInfo,
    energy.kernels.KernelState,
    energy.rules.Buffer,
    energy.rules.RuleOutput,
)
MODEL = energy.EnergyModel(net=nets.MLP((4, 1)), base=energy.Gaussian((2,)), kernel=energy.MALA())
X = jnp.zeros((4, 2))
VARIABLES = MODEL.init(jax.random.key(0), {"x": X})
DRAW = {"variables": VARIABLES, "key": jax.random.key(0)}
CASES = (
    partial(energy.Gaussian, shape=(2,)),
    partial(energy.Uniform, shape=(2,), low=0.0, high=3.0),
    partial(energy.Bernoulli, shape=(2,)),
    partial(energy.Pretrained, model=flow.Flow(shape=(2,), bijection=flow.ActNorm())),
    partial(energy.Langevin),
    partial(energy.AnnealedLangevin),
    partial(energy.MALA),
    partial(energy.HMC),
    partial(energy.NUTS),
    partial(energy.RandomWalk),
    partial(energy.GibbsWithGradients),
    partial(energy.ParallelTempering, kernel=energy.MALA()),
    partial(energy.ContrastiveDivergence),
    partial(energy.DenoisingScoreMatching),
    partial(energy.SlicedScoreMatching),
    partial(energy.NoiseContrastive),
    partial(energy.FlowMatching),
    partial(energy.Classification),
    partial(energy.EnergyMagnitude),
    partial(energy.GradientPenalty),
    partial(energy.EnergyModel, net=nets.MLP((4, 1)), base=energy.Gaussian((2,))),
    partial(energy.Expert, model=MODEL),
    partial(energy.Product, experts=(energy.Expert(MODEL),), kernel=energy.MALA()),
    partial(MODEL.sample, num_samples=2, **DRAW),
    partial(MODEL.chains, x=X, num_steps=4, **DRAW),
    partial(MODEL.log_prob_estimate, x=X, num_samples=2, num_temperatures=2, **DRAW),
    partial(energy.annealed_importance_sampling, density=MODEL.density(VARIABLES), key=DRAW["key"]),
    partial(
        energy.run_chains,
        kernel=energy.MALA(),
        log_density=lambda x: -jnp.sum(jnp.square(x), axis=-1),
        key=DRAW["key"],
        x=X,
        num_steps=4,
    ),
)
