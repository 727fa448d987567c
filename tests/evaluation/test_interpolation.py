"""The energy of decoded paths: an arc, a jump, a straight line, and models without paths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.interpolation import NUM_PATHS, NUM_STEPS, even_path
from genjax.evaluation.registry import evaluate
from tests.evaluation.stubs import Sampler


@dataclasses.dataclass(frozen=True)
class Circle(Sampler):
    """Paths start at (1, 0) and end at (0, 1)."""

    jumps: bool = False

    def sample_prior(self, variables, key, num_samples):
        return jnp.repeat(jnp.eye(2), num_samples // 2, axis=0)

    def decode(self, variables, latent):
        return jnp.where(latent[:, :1] < 0.8, 3.0, 1.0) if self.jumps else latent


class Encoder(Sampler):
    """Codes are data, multiples of one point, so that paths are straight."""

    def encode(self, variables, x):
        return x

    def decode(self, variables, latent):
        return 5.0 * latent


class Conditional(Encoder):
    conditions = label_condition(2)


class Codebook(Encoder):
    num_codes = 4


def evaluation_of(model):
    scale = np.random.default_rng(0).uniform(1, 2, 600).astype(np.float32)
    x = scale[:, None] * np.float32([[1.0, 2.0]])
    return Evaluation(
        model=model,
        variables=Variables({}, {}),
        dataset=data.arrays(x, label=np.arange(600) % 2, test=500),
        key=jax.random.key(0),
        batch_size=100,
    )


def result_of(model):
    return evaluate(evaluation_of(model), ["interpolation"])["path_energy"]


def test_energy_of_a_quarter_of_a_circle():
    result = result_of(Circle())
    chord = 2 * np.sin(np.pi / 4 / NUM_STEPS)
    assert result.value == pytest.approx((NUM_STEPS * chord) ** 2 / 2, rel=1e-5)  # the ends are √2 apart
    assert result.standard_error == pytest.approx(0, abs=1e-6)
    assert result.protocol["paths"] == NUM_PATHS
    assert result.protocol["ends from"] == "the prior"


def test_energy_of_a_jump_is_the_number_of_steps():
    assert result_of(Circle(jumps=True)).value == pytest.approx(NUM_STEPS)


def test_energy_of_an_even_straight_path_is_one():
    result = result_of(Encoder())
    assert result.value == pytest.approx(1, rel=1e-4)
    assert result.protocol["ends from"] == "split test"


def test_paths_of_opposite_codes_of_unequal_norms_stay_between_them():
    start, end = jnp.array([[1.0, 0.0]]), jnp.array([[-3.0, 1e-3]])
    path = even_path(start, end, 5)[0]
    np.testing.assert_allclose(jnp.linalg.norm(path, axis=1), [1, 1.5, 2, 2.5, 3], rtol=1e-3)
    np.testing.assert_allclose(path[2], [0, 2], atol=1e-3)
    np.testing.assert_allclose(path[jnp.array([0, -1])], jnp.concatenate([start, end]), atol=1e-6)


def test_paths_of_one_dimension_are_straight():
    path = even_path(jnp.array([[1.0]]), jnp.array([[-3.0]]), 5)
    np.testing.assert_allclose(path[0, :, 0], [1, 0, -1, -2, -3])


class Broken(Circle):
    def decode(self, variables, latent):
        return jnp.full_like(latent, jnp.nan)


class Collapsed(Circle):
    def decode(self, variables, latent):
        return 0.01 * latent


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            Collapsed(),
            "the squared distance of decoded path ends is below 0.001 of that of two examples",
        ),
        (Broken(), "decoded paths are not finite"),
        (Sampler(), "Sampler has no latent space: no decode, or neither sample_prior nor encode"),
        (Conditional(), "codes of a conditional model are decoded under conditions, which a path would have to share"),
        (Codebook(), "codes of Codebook are indices, between which there is no path"),
    ],
)
def test_models_without_paths(model, reason):
    result = result_of(model)
    assert (result.value, result.reason) == (None, reason)
