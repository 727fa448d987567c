"""The diffusion model with a network that is exact for Gaussian data, so that every answer is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data, diffusion, latent, nets, ops
from genjax.cli.flags import flags_of_sample, parse
from genjax.core import Variables
from genjax.diffusion import likelihood

MEAN = np.array([[0.5, -1.0]])
DEVIATION = np.array([[0.8, 0.3]])
SIZE = 4_096


@dataclasses.dataclass(frozen=True)
class ExactNet:
    """The exact network for N(MEAN, DEVIATION²) under a variance-preserving process: v, or ε, by Bayes' rule.

    A label shifts the mean; without a label it is ``MEAN``.
    """

    predicts: str = "velocity"

    def init(self, key, x, level, *condition):
        del key, x, level, condition
        return {"params": {"error": jnp.zeros(2)}}

    def apply(self, variables, x, level, *condition):
        log_snr = 20 - 40 * level[:, None]
        alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
        mean = jnp.asarray(MEAN, jnp.float32)
        if condition:
            mean = mean + condition[0] @ jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
        variance = jnp.square(alpha * DEVIATION) + jnp.square(sigma)
        noise = sigma * (x - alpha * mean) / variance
        data = mean + alpha * jnp.square(DEVIATION) * (x - alpha * mean) / variance
        exact = alpha * noise - sigma * data if self.predicts == "velocity" else noise
        return exact + variables["params"]["error"][None]


def draw(key, num=SIZE):
    return MEAN + DEVIATION * jax.random.normal(key, (num, 2))


def exact_model(**options):
    return diffusion.Diffusion(shape=(2,), net=ExactNet(), **options)


@pytest.fixture(scope="module")
def model():
    return exact_model()


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(0), {"x": jnp.zeros((2, 2))})


@pytest.fixture(scope="module")
def conditional():
    return exact_model(num_classes=2)


@pytest.fixture(scope="module")
def x():
    return draw(jax.random.key(18), 32).astype(jnp.float32)


@pytest.fixture(scope="module")
def exact(x):
    return np.asarray(jnp.sum(jax.scipy.stats.norm.logpdf(x, MEAN, DEVIATION), axis=-1))


class TestLoss:
    @pytest.mark.parametrize(
        ("weighting", "expected"),
        [
            # Variances of v and of ε given x_t, averaged over times.
            (diffusion.weightings.Output(), lambda a, s, d: d**2 / (a**2 * d**2 + s**2)),
            (diffusion.weightings.Simple(), lambda a, s, d: a**2 * d**2 / (a**2 * d**2 + s**2)),
            (
                diffusion.weightings.MinSNR(2.0),
                lambda a, s, d: np.minimum((a / s) ** 2, 2) * s**2 * d**2 / (a**2 * d**2 + s**2),
            ),
        ],
    )
    def test_exact_network_has_the_smallest_possible_error(self, weighting, expected, variables):
        model = exact_model(weighting=weighting)
        t = np.linspace(0, 1, 4_001)[:, None]
        alpha, sigma = (np.asarray(f(jnp.asarray(t)), np.float64) for f in (model.process.alpha, model.process.sigma))
        least = expected(alpha, sigma, DEVIATION).mean()
        batch = {"x": draw(jax.random.key(1), 100_000)}
        loss, _ = jax.jit(model.loss)(*variables, jax.random.key(2), batch, 0)
        np.testing.assert_allclose(loss, least, rtol=0.02)

    def test_the_gradient_vanishes_where_the_network_is_exact(self, model, variables):
        batch = {"x": draw(jax.random.key(3), 100_000)}
        gradient = jax.jit(jax.grad(lambda p: model.loss(p, variables.state, jax.random.key(4), batch, 0)[0]))
        exact = gradient(variables.params)["denoiser"]["error"]
        biased = gradient({"denoiser": {"error": jnp.full(2, 0.5)}})["denoiser"]["error"]
        np.testing.assert_allclose(exact, 0.0, atol=0.01)
        np.testing.assert_allclose(biased, 0.5, atol=0.01)  # gradient of ½ ‖v̂ − v‖², a mean over two elements

    def test_the_bound_as_weighting_is_the_bound(self, variables):
        """Uniform times with the bound as weighting and uniform log-SNRs have the same expectation."""
        batch = {"x": draw(jax.random.key(5), 200_000)}
        process = diffusion.processes.VariancePreserving()
        values = [
            jax.jit(exact_model(process=process, weighting=diffusion.weightings.VariationalBound()).loss),
            jax.jit(
                exact_model(
                    process=process, weighting=diffusion.weightings.Simple(), times=diffusion.times.UniformLogSNR()
                ).loss
            ),
        ]
        by_time, by_log_snr = (float(f(*variables, jax.random.key(6), batch, 0)[0]) for f in values)
        span = float(process.log_snr(jnp.float32(process.start)) - process.log_snr(jnp.float32(process.end)))
        np.testing.assert_allclose(by_time, 0.5 * 2 * span * by_log_snr, rtol=0.02)

    def test_noise_of_the_batch_is_used(self, model, variables):
        x = draw(jax.random.key(7), 64)
        loss = jax.jit(model.loss)
        with_noise = [
            loss(*variables, jax.random.key(8), {"x": x, "noise": noise}, 0)[0] for noise in (x, jnp.zeros((64, 2)))
        ]
        assert with_noise[0] != with_noise[1]


class TestLabels:
    def test_each_class_has_its_mean_and_no_label_has_the_common_one(self, conditional, variables):
        label = jnp.repeat(jnp.arange(2), SIZE)
        x = conditional.sample(variables, jax.random.key(9), 2 * SIZE, label=label, num_steps=20)
        means = x.reshape(2, SIZE, 2).mean(axis=1)
        np.testing.assert_allclose(means, MEAN + np.array([[1.0, 0.0], [-1.0, 0.0]]), atol=0.06)
        without = conditional.sample(variables, jax.random.key(9), SIZE, num_steps=20)
        np.testing.assert_allclose(without.mean(axis=0), MEAN[0], atol=0.06)

    def test_guidance_is_linear_in_its_weight(self, conditional, variables):
        """The mean of guided Gaussians of equal variance lies on the line through both means."""
        x = conditional.sample(variables, jax.random.key(10), SIZE, label=0, guidance=3.0, num_steps=50)
        np.testing.assert_allclose(x.mean(axis=0), MEAN[0] + np.array([3.0, 0.0]), atol=0.06)

    def test_no_guidance_outside_of_its_interval(self, conditional, variables):
        x = jnp.ones((3, 2))
        plain, guided = (
            conditional.denoiser(variables, label=0, guidance=w, guidance_interval=i)
            for w, i in ((1.0, None), (3.0, (0.3, 0.6)))
        )
        inside, outside = (conditional.process.time(jnp.float32(20 - 40 * level)) for level in (0.5, 0.2))
        assert jnp.abs(guided(x, inside).data - plain(x, inside).data).max() > 0.1
        np.testing.assert_allclose(guided(x, outside).data, plain(x, outside).data, rtol=1e-6)

    def test_guidance_is_one_call_of_the_network(self, conditional, variables):
        calls = []

        class Counting:
            init = ExactNet.init

            def apply(self, variables, x, level, *condition):
                calls.append(x.shape)
                return ExactNet().apply(variables, x, level, *condition)

        model = dataclasses.replace(conditional, net=Counting())
        model.denoiser(variables, label=0, guidance=2.0)(jnp.ones((3, 2)), jnp.float32(0.5))
        assert calls == [(6, 2)]

    @pytest.mark.parametrize(("share", "differs"), [(0.0, True), (1.0, False)])
    def test_dropped_labels_do_not_matter(self, share, differs, variables):
        model = exact_model(num_classes=2, condition_dropout=share)
        losses = [
            jax.jit(model.loss)(*variables, jax.random.key(11), {"x": jnp.ones((8, 2)), "label": label}, 0)[0]
            for label in (jnp.zeros(8, jnp.int32), jnp.ones(8, jnp.int32))
        ]
        assert bool(losses[0] != losses[1]) == differs


class TestPaths:
    def test_samples_have_the_distribution(self, model, variables):
        x = np.asarray(model.sample(variables, jax.random.key(12), 50_000, num_steps=30))
        np.testing.assert_allclose(x.mean(axis=0), MEAN[0], atol=4 * DEVIATION.max() / 50_000**0.5)
        np.testing.assert_allclose(np.cov(x.T), np.diag(DEVIATION[0] ** 2), atol=0.02)

    def test_the_trajectory_ends_in_the_samples(self, model, variables):
        options = {"num_steps": 6}
        x, records = model.sample_trajectory(variables, jax.random.key(13), 5, **options)
        np.testing.assert_array_equal(x, model.sample(variables, jax.random.key(13), 5, **options))
        assert records.shape == (6, 5, 2)
        np.testing.assert_array_equal(records[-1], x)

    def test_codes_are_the_noise_of_gaussian_data(self, model, variables):
        """The exact flow scales each coordinate by its standard deviation."""
        x = draw(jax.random.key(14), 100)
        noise = model.encode(variables, x, num_steps=50)
        np.testing.assert_allclose(noise, (x - MEAN) / DEVIATION, atol=0.02)
        np.testing.assert_allclose(model.decode(variables, noise, num_steps=50), x, atol=2e-3)

    def test_interpolation_begins_and_ends_with_its_ends(self, model, variables):
        x, y = draw(jax.random.key(15), 4), draw(jax.random.key(16), 4)
        path = jax.jit(functools.partial(latent.interpolate, model, path=ops.spherical_path), static_argnums=3)(
            variables, x, y, 3
        )
        np.testing.assert_allclose(path[:, 0], x, atol=2e-3)
        np.testing.assert_allclose(path[:, 2], y, atol=2e-3)

    def test_the_score_is_the_gradient_of_the_log_density(self, model, variables):
        x, t = draw(jax.random.key(17), 8), jnp.float32(0.4)
        alpha, sigma = model.process.alpha(t), model.process.sigma(t)
        expected = -(x - alpha * MEAN) / (alpha**2 * DEVIATION**2 + sigma**2)
        np.testing.assert_allclose(model.score(variables, x, t), expected, rtol=1e-4, atol=1e-4)


class TestNamesOfSamplers:
    def test_a_name_is_its_sampler_and_its_grid(self, model, variables):
        by_name, by_value = (
            model.sample(variables, jax.random.key(80), 3, num_steps=4, sampler=sampler, grid=grid)
            for sampler, grid in (("heun", "karras"), (diffusion.samplers.Heun(), diffusion.grids.Karras()))
        )
        np.testing.assert_array_equal(by_name, by_value)
        other = model.sample(variables, jax.random.key(80), 3, num_steps=4, sampler="ddim", grid="uniform")
        assert (by_name != other).all()

    def test_unknown_names(self, model, variables):
        for options, message in (({"sampler": "huen"}, "sampler is 'huen'"), ({"grid": "even"}, "grid is 'even'")):
            with pytest.raises(ValueError, match=message):
                model.sample(variables, jax.random.key(81), 3, **options)

    def test_names_are_flags_of_the_command_line(self, model, variables):
        flags = flags_of_sample(model, data.digits(), {})
        (options,) = parse("genjax sample RUN", ["--sampler", "heun", "--grid", "karras", "--num-steps", "2"], flags)
        assert (options.sampler, options.grid) == ("heun", "karras")
        assert model.sample(variables, jax.random.key(82), 3, **dataclasses.asdict(options)).shape == (3, 2)
        with pytest.raises(ValueError, match=r"invalid choice 'huen' for argument '--sampler'"):
            parse("genjax sample RUN", ["--sampler", "huen"], flags)


class TestLikelihood:
    def test_the_flow_has_the_exact_density(self, variables, x, exact):
        model = exact_model(process=diffusion.processes.Cosine(log_snr_min=-20.0))  # no signal is left at the end
        estimate = jax.jit(model.log_prob_estimate, static_argnames=("num_samples", "trace"))
        exactly = estimate(variables, jax.random.key(19), x, num_samples=1, trace="exact")
        np.testing.assert_allclose(exactly, exact, atol=1e-3)
        # The Jacobian is diagonal, so that directions with entries ±1 have no variance.
        randomly = estimate(variables, jax.random.key(19), x, num_samples=2, trace="hutchinson")
        np.testing.assert_allclose(randomly, exact, atol=1e-3)

    def test_the_trace_is_exact_where_that_takes_no_more_products(self, x):
        model = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((8,), embedding_features=4))
        variables, random = model.init(jax.random.key(2), {"x": x}), np.random.default_rng(0)
        params = jax.tree.map(lambda p: p + random.normal(0, 0.3, p.shape).astype(p.dtype), variables.params)
        variables = Variables(params, variables.state)
        estimate = jax.jit(model.log_prob_estimate, static_argnames=("num_samples", "trace"))
        exactly = estimate(variables, jax.random.key(0), x, num_samples=1, trace="exact")
        np.testing.assert_allclose(estimate(variables, jax.random.key(1), x, num_samples=2), exactly, rtol=1e-6)
        for options in ({"num_samples": 1}, {"num_samples": 2, "trace": "hutchinson"}):
            assert np.abs(estimate(variables, jax.random.key(1), x, **options) - exactly).max() > 1e-2, options

    def test_the_bound_is_tight_where_the_network_is_exact(self, model, variables, x, exact):
        bound = jax.jit(model.log_prob_lower_bound, static_argnames="num_samples")
        values = np.stack([bound(variables, jax.random.key(20 + i), x, num_samples=64) for i in range(32)])
        error = values.std(axis=0, ddof=1) / 32**0.5
        assert np.all(np.abs(values.mean(axis=0) - exact) < 5 * error + 1e-3)
        assert error.max() < 0.3

    def test_a_worse_network_has_a_lower_bound(self, model, variables, x, exact):
        bound = jax.jit(model.log_prob_lower_bound, static_argnames="num_samples")
        worse = Variables({"denoiser": {"error": jnp.full(2, 0.3)}}, variables.state)
        assert bound(worse, jax.random.key(60), x, num_samples=512).mean() < exact.mean() - 0.1

    @pytest.mark.parametrize("num_steps", [2, 8])
    def test_the_bound_of_few_steps_is_that_of_a_chain_of_gaussians(self, num_steps, variables):
        """With an exact network all conditionals are Gaussian and their divergences have closed forms."""
        model = exact_model(process=diffusion.processes.VariancePreserving(start=0.05))
        levels = diffusion.levels(model.process, model.grid, num_steps)
        alpha, sigma = (np.asarray(a, np.float64)[:-1, None] for a in (levels.alpha, levels.sigma))
        snr = (alpha / sigma) ** 2
        x = np.asarray([[1.0, -1.5]])
        # x̂₀ given x₀ is N(m, w): the mean is linear in x_t.
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        bias = MEAN + gain * alpha * (x - MEAN) - x
        error = (bias**2 + (gain * sigma) ** 2).sum(axis=1)
        steps = 0.5 * ((snr[1:, 0] - snr[:-1, 0]) * error[:-1]).sum()
        variance = 1 / snr[-1, 0]
        last = 0.5 * (error[-1] / variance + 2 * np.log(2 * np.pi * variance))
        expected = -(0.5 * snr[0, 0] * (x**2).sum() + steps + last)
        bound = jax.jit(model.log_prob_lower_bound, static_argnames=("num_samples", "num_steps"))
        many = jnp.broadcast_to(jnp.asarray(x, jnp.float32), (4_000, 2))
        values = np.asarray(bound(variables, jax.random.key(61), many, num_samples=16, num_steps=num_steps))
        assert abs(values.mean() - expected) < 4 * values.std() / 4_000**0.5 + 1e-3

    def test_the_bound_of_a_long_step_counts_all_of_it(self):
        """If x̂₀ = 0, one step to almost no noise costs ½ SNR ‖x‖², and so does the last one."""
        process = diffusion.processes.VarianceExploding(sigma_min=1e-5)
        steps = diffusion.levels(process, diffusion.grids.LogSNR(), 2)

        def ignorant(x, t):
            return diffusion.Prediction(jnp.zeros_like(x), x / process.sigma(t)[:, None])

        bound = jax.jit(lambda key, x: likelihood.variational_bound(process, ignorant, key, x, 4, steps))
        values = bound(jax.random.key(62), jnp.ones((50_000, 2)))
        np.testing.assert_allclose(values.mean(), -2.0 * np.exp(float(process.log_snr(0.0))), rtol=0.01)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_steps": 0}, "num_steps is 0, but must be at least 1"),
            ({"condition_dropout": 1.5}, r"condition_dropout is 1.5, but must be in \[0, 1\]"),
            ({"num_classes": 0}, "num_classes is 0"),
            ({"process": diffusion.processes.LinearPath(start=0.6, end=0.5)}, "start is 0.6 and end is 0.5"),
        ],
    )
    def test_settings(self, options, message):
        with pytest.raises(ValueError, match=message):
            exact_model(**options)

    def test_guidance_without_labels(self, model, variables):
        with pytest.raises(ValueError, match=r"guidance is 2\.0, but no condition is given"):
            model.sample(variables, jax.random.key(70), 2, guidance=2.0)
        conditional = exact_model(num_classes=2)
        with pytest.raises(ValueError, match="pass one, such as label=0"):
            conditional.sample(variables, jax.random.key(70), 2, guidance=2.0)

    def test_guidance_of_a_model_trained_without_condition_dropout(self, variables):
        model = exact_model(num_classes=2, condition_dropout=0.0)
        with pytest.raises(ValueError, match="trained with condition_dropout=0"):
            model.sample(variables, jax.random.key(71), 2, label=0, guidance=2.0)

    def test_intervals_steps_and_labels(self, variables):
        model = exact_model(num_classes=2)
        for options, message in (
            ({"guidance": 2.0, "guidance_interval": (0.8, 0.2)}, r"guidance_interval is \(0.8, 0.2\)"),
            ({"num_steps": 0}, "num_steps is 0, but must be at least 1"),
            ({"label": 2}, r"label is 2, but must be in 0, \.\.\., 1"),
            ({"guidance": -1.0}, "guidance is -1.0, but must be at least 0"),
        ):
            with pytest.raises(ValueError, match=message):
                model.sample(variables, jax.random.key(72), 2, **({"label": 0} | options))

    def test_networks_that_do_not_fit(self):
        model = diffusion.Diffusion(shape=(3,), net=ExactNet())
        with pytest.raises(ValueError, match=r"x has shape \(2, 2\), but this model has shape=\(3,\)"):
            model.init(jax.random.key(73), {"x": jnp.zeros((2, 2))})

        class Halves:
            init = ExactNet.init

            def apply(self, variables, x, level):
                return x[:, :1]

        model = diffusion.Diffusion(shape=(2,), net=Halves())
        with pytest.raises(ValueError, match=r"net returned shape \(2, 1\), but matching x needs"):
            model.init(jax.random.key(74), {"x": jnp.zeros((2, 2))})
