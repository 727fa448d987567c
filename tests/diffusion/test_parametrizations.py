"""Parametrizations: each by its own formula, all conversions, and the limits where α or σ is 0."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.diffusion.processes import rates

SCALE = 0.5
KINDS = [
    diffusion.parametrizations.Noise(SCALE),
    diffusion.parametrizations.Data(SCALE),
    diffusion.parametrizations.Velocity(SCALE),
    diffusion.parametrizations.Score(SCALE),
    diffusion.parametrizations.Flow(SCALE),
    diffusion.parametrizations.Preconditioned(SCALE),
]
NAMES = [type(kind).__name__ for kind in KINDS]
PROCESSES = [
    diffusion.processes.VariancePreserving(),
    diffusion.processes.EDM(),
    diffusion.processes.LinearPath(end=0.999),
]
RNG = np.random.default_rng(0)
DATA, NOISE = SCALE * RNG.normal(size=(9, 3)), RNG.normal(size=(9, 3))


def grid(process):
    """Return times with equal steps in log-SNR, ends included, one for each row."""
    return jnp.asarray(diffusion.grids.LogSNR().times(process, len(DATA)), jnp.float32)


def right_values(process, t):
    """Return x_t and the targets of all parametrizations, from the data and the noise."""
    here = jax.tree.map(lambda part: np.float64(part)[:, None], diffusion.level_at(process, jnp.asarray(t)))
    change = jax.tree.map(lambda part: np.float64(part)[:, None], rates(process, jnp.asarray(t)))
    alpha, sigma = here.alpha, here.sigma
    norm = np.sqrt(SCALE**2 * alpha**2 + sigma**2)
    x = alpha * DATA + sigma * NOISE
    return x, {
        "Noise": NOISE,
        "Data": DATA,
        "Velocity": alpha * NOISE - sigma * DATA,
        "Score": -NOISE / sigma,
        "Flow": change.alpha * DATA + change.sigma * NOISE,
        "Preconditioned": (DATA - alpha * SCALE**2 / norm**2 * x) * norm / (sigma * SCALE),
    }


def conversions(process, t, x, values):
    """Return all 36 conversions, not compiled, because that would take longer."""
    return {
        (a, b): np.asarray(diffusion.convert(process, t, x, values[a], source=kind, target=other))
        for (a, kind), (b, other) in itertools.product(zip(NAMES, KINDS, strict=True), repeat=2)
    }


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
class TestConversions:
    def test_all_in_double_precision(self, process):
        with jax.enable_x64(True):
            t = jnp.asarray(grid(process), jnp.float64)
            x, values = right_values(process, t)
            converted = conversions(process, t, x, values)
        for (source, target), value in converted.items():
            assert value.dtype == np.float64
            size = np.maximum(1, np.abs(values[target]))
            assert (np.abs(value - values[target]) <= 1e-8 * size).all(), (source, target)

    def test_all_cycles_in_single_precision(self, process):
        """Up to 1e-5, unless rounding of x_t loses the target.

        A rounding error of 6e-8 r in x_t causes one of 6e-8 r/σ in ε and of 6e-8 r/α in x₀, however it is computed. If
        x_t is mostly data or mostly noise, the other one cannot be accurate to 1e-5.
        """
        t = grid(process)
        exact_x, exact_values = right_values(process, t)
        x, values = np.float32(exact_x), {name: np.float32(value) for name, value in exact_values.items()}
        converted = conversions(process, t, x, values)
        here = jax.tree.map(lambda part: np.float64(part)[:, None], diffusion.level_at(process, jnp.asarray(t)))
        change = jax.tree.map(lambda part: np.float64(part)[:, None], rates(process, jnp.asarray(t)))
        norm = np.sqrt(SCALE**2 * here.alpha**2 + here.sigma**2)
        of_noise, of_data = np.maximum(1, norm / here.sigma), np.maximum(1, norm / here.alpha)
        allowed = {
            "Noise": of_noise,
            "Data": of_data,
            "Velocity": here.alpha * of_noise + here.sigma * of_data,
            "Score": of_noise / here.sigma,
            "Flow": np.abs(change.alpha) * of_data + np.abs(change.sigma) * of_noise,
            "Preconditioned": (here.sigma / SCALE * of_data + here.alpha * SCALE * of_noise) / norm,
        }
        for source, target in itertools.product(NAMES, repeat=2):
            error = np.abs(converted[source, target] - exact_values[target])
            assert (error <= 1e-5 * np.maximum(1, np.abs(exact_values[target])) * allowed[target]).all(), (
                source,
                target,
                np.max(error / allowed[target]),
            )
        for source in NAMES:
            back = conversions(process, t, x, {name: converted[source, name] for name in NAMES})
            for target in NAMES:
                error = np.abs(back[target, source] - values[source])
                size = np.maximum(1, np.abs(values[source]))
                assert (error <= 2e-5 * size * allowed[source]).all(), (source, target)


def test_preconditioned_is_that_of_edm():
    """D = c_skip x + c_out F(c_in x), with α = 1 and σ = t."""
    process, kind = diffusion.processes.EDM(), diffusion.parametrizations.Preconditioned(SCALE)
    sigma = np.float32([[0.002], [0.3], [SCALE], [4.0], [80.0]])
    x, output = np.float32(RNG.normal(size=(2, 5, 3)))
    skip = SCALE**2 / (sigma**2 + SCALE**2)
    out = sigma * SCALE / np.sqrt(sigma**2 + SCALE**2)
    data, noise = kind.predict(process, jnp.asarray(sigma[:, 0]), x, output)
    np.testing.assert_allclose(data, skip * x + out * output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x, data + sigma * noise, rtol=1e-5, atol=1e-5)
    scale = kind.input_scale(diffusion.level_at(process, jnp.asarray(sigma)))
    np.testing.assert_allclose(scale, 1 / np.sqrt(sigma**2 + SCALE**2), rtol=1e-6)


def test_sizes():
    """Inputs and Preconditioned targets have unit variance at every time."""
    process = diffusion.processes.VariancePreserving()
    rng = np.random.default_rng(1)
    data, noise = np.float32(SCALE * rng.normal(size=200_000)), np.float32(rng.normal(size=200_000))
    for t in (0.01, 0.2, 0.9):
        here = diffusion.level_at(process, jnp.float32(t))
        kind = diffusion.parametrizations.Preconditioned(SCALE)
        inputs = (here.alpha * data + here.sigma * noise) * kind.input_scale(here)
        targets = kind.target(process, jnp.float32(t), diffusion.Prediction(data, noise))
        assert abs(np.var(inputs) - 1) < 0.02 and abs(np.var(targets) - 1) < 0.02
        assert abs(np.mean(inputs * targets)) < 0.01  # the residual is uncorrelated with the input


def test_one_time_for_all_or_one_for_each():
    process, t = diffusion.processes.VariancePreserving(), jnp.float32([0.1, 0.6])
    x, output = np.float32(RNG.normal(size=(2, 2, 4, 4, 1)))
    for kind in KINDS:
        both = kind.predict(process, t, x, output)
        for row in range(2):
            one = kind.predict(process, t[row], x[row : row + 1], output[row : row + 1])
            for a, b in zip(one, both, strict=True):
                np.testing.assert_allclose(a[0], b[row], rtol=1e-5, atol=1e-5)
            value = kind.target(process, t[row], one)
            np.testing.assert_allclose(value[0], output[row], rtol=1e-4, atol=1e-4)


PATH = diffusion.processes.LinearPath(start=0.0)
ENDS = {
    # x_t is all noise: only targets that contain x₀ determine it.
    1.0: {
        "determines all": ("Data", "Velocity", "Flow", "Preconditioned"),
        "blind": ("Noise", "Score"),
        "determined": ("Noise", "Score"),
    },
    # x_t is the data: only targets that contain ε determine it, and the score is infinite.
    0.0: {"determines all": ("Noise", "Velocity", "Flow"), "blind": ("Data",), "determined": ("Data",)},
}


@pytest.mark.parametrize("t", ENDS)
class TestSingularEnds:
    def values(self, t):
        data, noise = np.float32(DATA), np.float32(NOISE)
        x = data if t == 0 else noise
        norm = SCALE if t == 0 else 1.0
        values = {
            "Noise": noise,
            "Data": data,
            "Velocity": noise if t == 0 else -data,
            "Flow": noise - data,
            # (σ/s x₀ − α s ε) / r
            "Preconditioned": -SCALE * noise / norm if t == 0 else data / (SCALE * norm),
        }
        return x, values | ({"Score": -noise} if t else {})

    def convert(self, t, source, target):
        x, values = self.values(t)
        by_name = dict(zip(NAMES, KINDS, strict=True))
        return diffusion.convert(
            PATH, jnp.float32(t), x, values[source], source=by_name[source], target=by_name[target]
        )

    def test_limits(self, t):
        _, values = self.values(t)
        for source in ENDS[t]["determines all"]:
            for target in values:
                np.testing.assert_allclose(
                    self.convert(t, source, target), values[target], rtol=1e-5, atol=1e-6, err_msg=f"{source}, {target}"
                )

    def test_undetermined_targets(self, t):
        _, values = self.values(t)
        for source in ENDS[t]["blind"]:
            for target in values:
                if target in ENDS[t]["determined"]:
                    np.testing.assert_allclose(self.convert(t, source, target), values[target], rtol=1e-6)
                else:
                    with pytest.raises(ValueError, match=rf"{source} does not determine {target} .* predict Velocity"):
                        self.convert(t, source, target)


def test_the_score_of_data_is_undefined():
    x = np.float32(DATA)
    with pytest.raises(ValueError, match=r"Velocity does not determine Score where alpha is 1 and sigma is 0"):
        diffusion.convert(
            PATH,
            jnp.float32(0.0),
            x,
            np.float32(NOISE),
            source=diffusion.parametrizations.Velocity(),
            target=diffusion.parametrizations.Score(),
        )


def test_compiled_functions_return_no_finite_numbers():
    x = np.float32(NOISE)
    value = jax.jit(
        lambda x: diffusion.convert(
            PATH,
            jnp.float32(1.0),
            x,
            x,
            source=diffusion.parametrizations.Noise(),
            target=diffusion.parametrizations.Data(),
        )
    )(x)
    assert not np.isfinite(value).any()


def test_errors():
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"data_scale is .*, but must be (above 0|a finite number); 1\.0 is usual"):
            diffusion.parametrizations.Preconditioned(scale)
