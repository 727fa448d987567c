"""Numbers that data of unit size and processes without noise at their start do not show, computed again with numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genjax import diffusion, ops
from genjax.core import Variables
from genjax.diffusion import likelihood, processes, samplers
from tests.networks import Function

MEAN, SCALE = 0.7, 1.3
X = np.random.default_rng(0).normal(MEAN, SCALE, (5, 3)).astype(np.float32)


def exact(process):
    """Return the denoiser of independent N(MEAN, SCALE²)."""

    def predict(x, t):
        t = t if jnp.ndim(t) == 0 else t[:, None]
        alpha, sigma = process.alpha(t), process.sigma(t)
        centred = (x - alpha * MEAN) / (alpha**2 * SCALE**2 + sigma**2)
        return diffusion.Prediction(MEAN + alpha * SCALE**2 * centred, sigma * centred)

    return predict


@pytest.mark.parametrize(
    "process",
    [
        processes.VariancePreserving(start=0.3, end=0.8),
        processes.LinearPath(start=0.4, end=0.9),
        processes.VarianceExploding(sigma_min=0.5, sigma_max=30.0),
    ],
    ids=lambda process: type(process).__name__,
)
def test_the_density_along_the_flow_is_that_of_data_with_the_noise_of_the_first_level(process):
    """x₀ = x / α of x ~ N(α m, α² s² + σ²); the prior N(0, σ²) at the end stands for the marginal there."""
    start, end = jnp.float32(process.start), jnp.float32(process.end)
    alpha, sigma = float(process.alpha(start)), float(process.sigma(start))
    alpha_end, sigma_end = float(process.alpha(end)), float(process.sigma(end))
    log_prob = likelihood.flow_log_prob(process, exact(process), ops.Solver(rtol=1e-6, atol=1e-6), jnp.asarray(X), None)
    # The flow is the affine map between the marginals of both ends.
    stretch = np.hypot(alpha_end * SCALE, sigma_end) / np.hypot(alpha * SCALE, sigma)
    ends = alpha_end * MEAN + stretch * (alpha * X.astype(np.float64) - alpha * MEAN)
    expected = (norm.logpdf(ends, scale=sigma_end) + np.log(stretch) + np.log(alpha)).sum(axis=1)
    np.testing.assert_allclose(log_prob[:, 0], expected, rtol=1e-3, atol=2e-3)


def test_samples_and_latents_start_with_the_noise_of_the_first_level_and_data_with_the_signal_of_the_last():
    process = processes.LinearPath(start=0.4, end=0.9)

    def net(params, x, level):
        sigma = jax.nn.sigmoid(20 * level - 10)  # of log-SNR 20 − 40 level
        x_t = jnp.hypot(1 - sigma, sigma)[:, None] * x  # inputs are x_t with unit variance
        return exact(process)(x_t, sigma).data

    model, variables = a_model(net, process=process, parametrization=diffusion.parametrizations.Data())
    _, starts = model.sample_trajectory(variables, jax.random.key(0), 20_000, num_steps=1, observe=lambda info: info.x)
    assert float(starts.std()) == pytest.approx(0.9, rel=0.02)
    x = jnp.asarray(X)
    decoded = model.decode(variables, x, num_steps=1, sampler=samplers.DDIM())
    np.testing.assert_allclose(decoded, exact(process)(0.9 * x, jnp.float32(0.9)).data, rtol=1e-4, atol=1e-4)
    stretch = np.hypot(0.1 * SCALE, 0.9) / np.hypot(0.6 * SCALE, 0.4)  # of the affine map between both ends
    expected = (0.1 * MEAN + stretch * 0.6 * (X - MEAN)) / 0.9
    np.testing.assert_allclose(model.encode(variables, x, num_steps=100), expected, rtol=2e-3, atol=2e-3)


def a_model(function, **options):
    return diffusion.Diffusion(shape=(3,), net=Function(function), **options), Variables(
        {"denoiser": {}}, {"denoiser": {}}
    )


def test_networks_receive_the_log_snr_from_20_to_minus_20_as_0_to_1():
    model, _ = a_model(lambda params, x, level: x, process=processes.EDM(start=1e-6, end=1e6))
    sigma = np.array([1e-6, np.exp(-10), 0.1, 1.0, 5.0, np.exp(10), 1e6])
    expected = np.clip(0.5 + np.log(sigma) / 20, 0, 1)  # λ = −2 log σ
    np.testing.assert_allclose(model.noise_level(jnp.float32(sigma)), expected, atol=1e-5)


def test_inputs_of_the_network_have_unit_variance():
    inputs = []

    def record(params, x, level):
        inputs.append(x)
        return x

    process = processes.EDM()
    parametrization = diffusion.parametrizations.Preconditioned(data_scale=0.5)
    model, variables = a_model(record, process=process, parametrization=parametrization)
    model.predict(variables, jnp.asarray(X), jnp.float32(2.0))
    np.testing.assert_allclose(inputs[0], X / np.hypot(0.5, 2.0), rtol=1e-5)


def test_a_share_of_the_labels_is_dropped_in_training():
    labels = []

    def record(params, x, level, one_hot):
        labels.append(one_hot)
        return x

    model, variables = a_model(record, num_classes=2, condition_dropout=0.25)
    batch = {"x": jnp.zeros((4_000, 3)), "label": jnp.ones(4_000, jnp.int32)}
    model.loss(*variables, jax.random.key(0), batch, jnp.int32(0))
    np.testing.assert_allclose(np.mean(labels[0], axis=0), [0, 0.75, 0.25], atol=0.03)


def test_the_metric_is_the_mean_squared_error_of_an_element():
    model, variables = a_model(
        lambda params, x, level: jnp.zeros_like(x), parametrization=diffusion.parametrizations.Noise()
    )
    batch = {"x": jnp.asarray(X), "noise": jnp.full((5, 3), 2.0)}
    loss, (_, metrics) = model.loss(*variables, jax.random.key(0), batch, jnp.int32(0))
    assert float(loss) == pytest.approx(4)
    assert float(metrics["output_error"]) == pytest.approx(4)


def test_the_score_is_minus_noise_over_sigma():
    model, variables = a_model(
        lambda params, x, level: jnp.full_like(x, 3.0), parametrization=diffusion.parametrizations.Noise()
    )
    t = jnp.float32(0.3)
    score = model.score(variables, jnp.asarray(X), t)
    np.testing.assert_allclose(score, np.full((5, 3), -3 / float(model.process.sigma(t))), rtol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_of_ddim(eta):
    """N(α_s x̂₀ + √(σ_s² − v) ε̂, v) with v = η² σ_s² (1 − e^{λ_t − λ_s}), for x̂₀ = 2 and ε̂ = 3."""
    process = processes.VariancePreserving()
    t, s = (processes.level_at(process, jnp.float32(time)) for time in (0.5, 0.3))
    x = jnp.zeros((40_000, 1))

    def denoise(x, t):
        return diffusion.Prediction(jnp.full_like(x, 2.0), jnp.full_like(x, 3.0))

    step = samplers.DDIM(eta=eta).step(process, denoise, t, s, jax.random.key(0), x, ())
    alpha, sigma, ratio = float(s.alpha), float(s.sigma), float(np.exp(t.log_snr - s.log_snr))
    variance = eta**2 * sigma**2 * (1 - ratio)
    assert float(step.x.mean()) == pytest.approx(2 * alpha + 3 * np.sqrt(sigma**2 - variance), abs=0.01)
    assert float(step.x.std()) == pytest.approx(np.sqrt(variance), rel=0.02, abs=1e-6)


class Stays(samplers.DDIM):
    """A sampler that takes x for the data and stays there."""

    def step(self, process, denoise, t, s, key, x, carry):
        return samplers.Step(x, carry, x)


def test_repeated_steps_go_back_with_the_signal_and_the_noise_of_the_level_before():
    """q(x_t | x_s) = N(α_t/α_s x_s, σ_t² − (α_t/α_s)² σ_s²); the last of three levels is not repeated."""
    process = processes.LinearPath()
    levels = processes.level_at(process, jnp.float32([0.8, 0.3, 0.0]))
    x = jnp.full((40_000, 1), 5.0)
    end, _ = diffusion.sample_loop(Stays(), process, exact(process), levels, jax.random.key(0), x, repeats=2)
    ratio = 0.2 / 0.7
    assert float(end.mean()) == pytest.approx(5 * ratio, abs=0.02)
    assert float(end.std()) == pytest.approx(np.sqrt(0.8**2 - ratio**2 * 0.3**2), rel=0.02)


def test_a_langevin_step():
    """x + δ ∇ log q + √(2δ) z with δ = 2 (r σ)², for a score of −ε̂/σ with ε̂ = 1."""
    process, snr, sigma = processes.VarianceExploding(), 0.2, 3.0
    time = process.time(jnp.float32(-2 * np.log(sigma)))
    level = processes.level_at(process, time)
    sampler = samplers.PredictorCorrector(snr=snr)
    x = jnp.zeros((40_000, 1))

    def denoise(x, t):
        return diffusion.Prediction(x, jnp.ones_like(x))

    step = sampler.step(process, denoise, level, level, jax.random.key(0), x, ())
    delta = 2 * (snr * sigma) ** 2
    assert float(step.x.mean()) == pytest.approx(-delta / sigma, abs=0.02)
    assert float(step.x.std()) == pytest.approx(np.sqrt(2 * delta), rel=0.02)


def test_an_edit_takes_the_last_steps_from_data_with_their_noise():
    times = []

    def record(params, x, level):
        times.append(float(level[0]))
        return jnp.zeros_like(x)

    model, variables = a_model(record, num_steps=10)
    with jax.disable_jit():
        diffusion.edit(
            model, variables, jax.random.key(0), jnp.asarray(X), strength=0.3, sampler="ddim", grid="uniform"
        )
    all_levels = np.asarray(model.noise_level(model.levels(10, "uniform").time))
    np.testing.assert_allclose(sorted(times, reverse=True), all_levels[7:10], atol=1e-5)


def test_defaults_are_those_of_the_papers():
    assert diffusion.grids.Karras().rho == 7
    assert (diffusion.times.LogNormal().mean, diffusion.times.LogNormal().std) == (-1.2, 1.2)
    assert (diffusion.times.LogitNormal().mean, diffusion.times.LogitNormal().std) == (0, 1)
    assert diffusion.weightings.MinSNR().gamma == 5
    assert samplers.PredictorCorrector().snr == 0.16
    assert samplers.DDIM().eta == 0
    assert (processes.EDM().start, processes.EDM().end) == (0.002, 80)
    continuous, discrete = processes.VariancePreserving(), processes.DiscreteVariancePreserving()
    assert (continuous.beta_min, continuous.beta_max) == (0.1, 20)
    assert (discrete.num_steps, discrete.beta_min, discrete.beta_max) == (1_000, 1e-4, 0.02)
    assert (processes.VarianceExploding().sigma_min, processes.VarianceExploding().sigma_max) == (0.01, 50)


def test_the_bound_for_infinitely_many_steps_depends_on_the_ends_alone():
    """For N(m, s²) and r = e^λ, E(ε − ε̂)² = (r s² / (1 + r s²))² + r (x − m)² / (1 + r s²)²."""
    process = processes.LinearPath(start=0.4, end=0.7)
    predict, x = exact(process), jnp.asarray(X)
    bound = jax.jit(lambda key: likelihood.variational_bound(process, predict, key, x, 16_000))(jax.random.key(0))
    first, last = 2 * np.log(0.6 / 0.4), 2 * np.log(0.3 / 0.7)

    def error(log_snr):
        r, x = np.exp(log_snr), X.astype(np.float64)[..., None]
        return (r * SCALE**2 / (1 + r * SCALE**2)) ** 2 + r * (x - MEAN) ** 2 / (1 + r * SCALE**2) ** 2

    middles = last + (first - last) * (np.arange(2_000) + 0.5) / 2_000
    path = 0.5 * (first - last) * error(middles).mean(axis=-1)
    at_data = 0.5 * (error(np.array([first]))[..., 0] + np.log(2 * np.pi) - first)
    prior = 0.5 * np.exp(last) * X**2
    np.testing.assert_allclose(bound, -(prior + path + at_data).sum(axis=1), atol=0.12)
