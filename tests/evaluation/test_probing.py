"""A linear probe: codes that tell the classes apart, codes that do not, and models without codes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.registry import evaluate
from tests.evaluation.stubs import Sampler

SHIFT = 1.5


@dataclasses.dataclass(frozen=True)
class Encoder(Sampler):
    """Codes are the coordinates from ``first`` on. The class shifts coordinate 0, whose unit is small."""

    first: int = 0

    def encode(self, variables, x):
        return (x * jnp.array([[1e-4, 1.0]]))[:, None, self.first :]


class Conditional(Encoder):
    conditions = label_condition(2)


class Codebook(Encoder):
    num_codes = 4


class Broken(Encoder):
    def encode(self, variables, x):
        return jnp.full_like(x, jnp.nan)


class Optimizer(Encoder):
    def encode(self, variables, x, *, learning_rate: float = 0.1):
        return x


def result_of(model, *, labels=True, **settings):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 2_000)[rng.permutation(4_000)]
    x = rng.normal(size=(4_000, 2)).astype(np.float32)
    x[:, 0] += SHIFT * label
    dataset = data.arrays(x, label=label if labels else None, test=3_000)
    evaluation = Evaluation(
        model=model, variables=Variables({}, {}), dataset=dataset, key=jax.random.key(0), batch_size=700, **settings
    )
    return evaluate(evaluation, ["linear_probe"])["probe_accuracy"]


def test_accuracy_is_that_of_the_best_boundary_between_two_gaussians():
    result = result_of(Encoder())
    best = float(jax.scipy.stats.norm.cdf(SHIFT / 2))
    assert abs(result.value - best) < 3 * result.standard_error
    assert result.standard_error == pytest.approx((best * (1 - best) / 3_000) ** 0.5, rel=0.05)
    assert result.protocol == {"probe fitted to": "1000 of train", "examples": 3_000, "split": "test"}


def test_codes_without_the_class_are_at_chance():
    result = result_of(Encoder(first=1))
    assert abs(result.value - 0.5) < 4 * result.standard_error


@pytest.mark.parametrize(
    ("model", "settings", "reason"),
    [
        (Sampler(), {}, "Sampler has no encode"),
        (Conditional(), {}, "the model is conditioned, and its codes need not contain its conditions"),
        (Codebook(), {}, "codes of Codebook are indices, which have no linear functions"),
        (Broken(), {}, "codes of seed 0 are not finite"),
        (
            Optimizer(),
            {},
            "Optimizer finds the codes of examples by optimization, too slow for a probe",
        ),
        (Encoder(), {"labels": False}, "the data has no labels"),
        (Encoder(), {"split": "train"}, "split is 'train', but a probe needs held-out data; use another split"),
    ],
)
def test_models_without_codes_of_classes(model, settings, reason):
    result = result_of(model, **settings)
    assert (result.value, result.reason) == (None, reason)
