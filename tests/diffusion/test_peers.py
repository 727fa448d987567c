"""Samplers compared with the schedulers of diffusers, with the same denoiser and the same noise.

Conventions differ. In diffusers, time is the index i of a step, from 0 to T − 1, with α_i² = Π_{j ≤ i} (1 − β_j), which
is the time (i + 1)/T here. The spacing "leading" is multiples of T/N down to i = 0, and a last step from there to the
data ("set_alpha_to_one"); "linspace" goes down from T − 1. Both are Custom grids here. The Euler and Heun schedulers
work with x/α and σ/α, which is EDM's process with those σ as times, and also end with a step to σ = 0. DDPM's variances
"fixed_small" and "fixed_large" are "lower" and "upper".
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.diffusion.samplers import DPMSolverPP, Step
from genjax.diffusion.samplers.base import History

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of torch's arrays in NumPy
]
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

T = 1000
PROCESS = diffusion.processes.DiscreteVariancePreserving(num_steps=T)
X = np.float32(np.random.default_rng(0).normal(size=(4, 3)))


def noise_of(x, time, tanh, sin):
    """Return a smooth function of x with unit variance and a time in [0, 1], in place of a network's output."""
    return 0.9 * tanh(x + 0.5 * time) + 0.1 * sin(3 * x)


def denoiser(process, time_of=lambda t: t):
    def denoise(x, t):
        here = diffusion.level_at(process, t)
        noise = noise_of(x / jnp.hypot(here.alpha, here.sigma), time_of(t), jnp.tanh, jnp.sin)
        return diffusion.parametrizations.Noise().predict(process, t, x, noise)

    return denoise


def theirs(scheduler, noises=None, size=lambda t, n: 1.0, start=X, **settings):
    """Return all x of a scheduler, the first one included."""
    x, path = torch.from_numpy(start), []
    for n, t in enumerate(scheduler.timesteps):
        path.append(x.numpy())
        output = noise_of(x / size(t, n), (float(t) + 1) / T, torch.tanh, torch.sin)
        more = {} if noises is None else {"variance_noise": torch.from_numpy(noises[n])}
        x = scheduler.step(output, t, x, **more, **settings).prev_sample
    return np.stack([*path, x.numpy()])


def ours(sampler, process, levels, start=X, noises=None, **settings):
    """Return all x of a sampler, the first one included."""
    denoise = denoiser(process, **settings)
    if noises is None:
        run = jax.jit(
            lambda x: diffusion.sample_loop(
                sampler, process, denoise, levels, jax.random.key(0), x, observe=lambda info: info.x
            )
        )
        last, path = jax.device_get(run(jnp.asarray(start)))
        return np.concatenate([path, last[None]])
    x, path = jnp.asarray(start), [start]
    carry, step = sampler.init_carry(x), None
    for n, z in enumerate(noises):
        t, s = (jax.tree.map(lambda part, i=i: part[i], levels) for i in (n, n + 1))
        if s.sigma == 0:
            path.append(np.asarray(denoise(x, t.time).data))
            break
        with mock.patch("jax.random.normal", lambda key, shape, dtype, z=z: jnp.asarray(z, dtype)):
            step = sampler.step(process, denoise, t, s, jax.random.key(0), x, carry)
        x, carry = step.x, step.carry
        path.append(np.asarray(x))
    assert isinstance(step, Step)
    return np.stack(path)


def agree(own, right, rounding=1e-4):
    assert own.shape == right.shape
    assert np.ptp(own[-1]) > 0.1
    assert (np.abs(own - right) <= rounding * np.maximum(1, np.abs(right))).all(), np.abs(own - right).max()


def discrete_levels(scheduler):
    times = tuple((int(t) + 1) / T for t in scheduler.timesteps)
    return diffusion.levels(PROCESS, diffusion.grids.Custom(times), len(times))


@pytest.mark.parametrize(("variance", "name"), [("lower", "fixed_small"), ("upper", "fixed_large")])
def test_ddpm(variance, name):
    scheduler = diffusers.DDPMScheduler(T, variance_type=name, clip_sample=False, timestep_spacing="leading")
    scheduler.set_timesteps(20)
    noises = np.float32(np.random.default_rng(1).normal(size=(20, *X.shape)))
    noise_iterator = iter(torch.from_numpy(noises))
    with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(noise_iterator)):
        right = theirs(scheduler)
    agree(ours(diffusion.samplers.Ancestral(variance), PROCESS, discrete_levels(scheduler), noises=noises), right)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_ddim(spacing):
    scheduler = diffusers.DDIMScheduler(T, clip_sample=False, timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    if spacing != "leading":  # its step goes to i − T/N, which is not always the next of its timesteps
        scheduler.timesteps = torch.arange(999, 0, -50)
    agree(ours(diffusion.samplers.DDIM(), PROCESS, discrete_levels(scheduler)), theirs(scheduler))


def test_ddim_with_noise():
    scheduler = diffusers.DDIMScheduler(T, clip_sample=False, timestep_spacing="leading")
    scheduler.set_timesteps(20)
    noises = np.float32(np.random.default_rng(1).normal(size=(20, *X.shape)))
    noises[-1] = 0  # the scheduler adds noise to the data too, of variance close to 0
    for eta in (0.4, 1.0):
        right = theirs(scheduler, noises, eta=eta)
        agree(ours(diffusion.samplers.DDIM(eta), PROCESS, discrete_levels(scheduler), noises=noises), right)


def multistep(order, **settings):
    scheduler = diffusers.DPMSolverMultistepScheduler(T, solver_order=order, **settings)
    scheduler.set_timesteps(20)
    return scheduler


@pytest.mark.parametrize("order", [1, 2])
def test_dpm_solver_multistep(order):
    scheduler = multistep(order)
    agree(ours(DPMSolverPP(order), PROCESS, discrete_levels(scheduler)), theirs(scheduler))


@pytest.mark.parametrize("order", [1, 2])
def test_stochastic_dpm_solver_multistep(order):
    scheduler = multistep(order, algorithm_type="sde-dpmsolver++")
    noises = np.float32(np.random.default_rng(1).normal(size=(20, *X.shape)))
    own = ours(DPMSolverPP(order, stochastic=True), PROCESS, discrete_levels(scheduler), noises=noises)
    agree(own, theirs(scheduler, noises))


def test_dpm_solver_multistep_of_order_3():
    """The scheduler uses half of the second derivative, which is the only difference.

    With "heun" its second step, of order 2, has φ_2 where "midpoint" has ½ φ_1.
    """
    scheduler = multistep(3, solver_type="heun")
    levels = discrete_levels(scheduler)
    right = theirs(scheduler)
    own = ours(DPMSolverPP(3), PROCESS, levels)
    assert np.abs(own - right).max() > 1e-3
    differences = History.differences

    def halved(self):
        first, second = differences(self)
        rest = DPMSolverPP(3)._last_gap(self) * 0.5 * second  # so that the first derivative stays as it is
        return first + rest, 0.5 * second

    with mock.patch.object(History, "differences", halved):
        agree(ours(DPMSolverPP(3), PROCESS, levels), right)


@pytest.mark.parametrize("spacing", ["linspace", "leading"])
@pytest.mark.parametrize("sampler", [diffusion.samplers.Euler(), diffusion.samplers.Heun()], ids=str)
def test_euler_and_heun(sampler, spacing):
    kind = (
        diffusers.EulerDiscreteScheduler
        if isinstance(sampler, diffusion.samplers.Euler)
        else diffusers.HeunDiscreteScheduler
    )
    scheduler = kind(T, beta_start=1e-4, beta_end=0.02, timestep_spacing=spacing)
    scheduler.set_timesteps(20)
    sigmas, steps = scheduler.sigmas.numpy(), scheduler.timesteps.numpy()
    heun = kind is diffusers.HeunDiscreteScheduler
    first = np.r_[0, 1 : len(steps) : 2] if heun else np.arange(len(steps))  # Heun's scheduler lists all but one twice
    times = sigmas[:-1][first]
    process = diffusion.processes.EDM(start=float(times[-1]), end=float(times[0]))
    levels = diffusion.levels(process, diffusion.grids.Custom(tuple(map(float, times))), len(times))
    start = X * times[0]

    def time_of(t):
        """Return (i + 1)/T, the time that a network trained on discrete steps receives."""
        return (jnp.interp(jnp.log(t), jnp.log(times[::-1]), steps[first][::-1]) + 1) / T

    # At Heun's second evaluation, x is at the next σ; its σ are listed as its steps are.
    order = np.hypot(1, sigmas if not heun else np.r_[sigmas[0], sigmas[1:]])
    right = theirs(scheduler, size=lambda t, n: float(order[n]), start=start)
    own = ours(sampler, process, levels, start, time_of=time_of)
    agree(own, right[np.r_[0 : len(right) - 1 : 2, len(right) - 1]] if heun else right)


def test_flow_matching():
    """Euler's method on straight paths, where the scheduler takes the velocity from noise to data."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(20)
    process = diffusion.processes.LinearPath()
    times = scheduler.sigmas.numpy()[:-1]
    levels = diffusion.levels(process, diffusion.grids.Custom(tuple(map(float, times))), 20)

    def denoise(x, t):
        return diffusion.parametrizations.Flow().predict(process, t, x, noise_of(x, t, jnp.tanh, jnp.sin))

    last, path = jax.jit(
        lambda x: diffusion.sample_loop(
            diffusion.samplers.Euler(), process, denoise, levels, jax.random.key(0), x, observe=lambda info: info.x
        )
    )(X)
    x, right = torch.from_numpy(X), []
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        right.append(x.numpy())
        x = scheduler.step(noise_of(x, sigma, torch.tanh, torch.sin), t, x).prev_sample
    agree(np.concatenate([path, last[None]]), np.stack([*right, x.numpy()]))
