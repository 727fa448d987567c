"""Floors see the levels of the data where the runs show them, and what the first run's model sees otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import Experiment, data, nets, ops, vae
from genjax.comparison.contestants import evaluation_settings
from genjax.comparison.floors import floor_contestants
from genjax.comparison.settings import ComparisonSettings
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.registry import evaluate
from genjax.metrics import pixels
from genjax.metrics.progress import no_progress

DIGITS = data.digits()


def subject(name, preprocess, display=None):
    """Return a fitted floor beside a model that sees the digits in one way."""
    model = vae.VAE(
        latent_dim=2,
        encoder=nets.MLP((4,)),
        decoder=nets.MLP((4,), output_shape=(8, 8, 1)),
        likelihood=ops.Gaussian(),
    )
    experiment = Experiment(
        model=model, data=DIGITS, preprocess=preprocess, optimizer=optax.sgd(1.0), steps=1, display=display
    )
    settings, network = ComparisonSettings(num_samples=30), pixels()
    reference = Evaluation(
        model=model,
        variables=Variables({}, {}),
        dataset=DIGITS,
        preprocess=preprocess,
        display=display,
        **evaluation_settings(settings, network),
    )
    (contestant,) = floor_contestants([name], experiment, reference, settings, network)
    return contestant, contestant.members[0].load(no_progress)


@pytest.mark.parametrize("preprocess", [data.scale(levels=17), data.dequantize(levels=17)], ids=["levels", "real"])
def test_densities_bound_the_bits_of_levels(preprocess):
    contestant, floor = subject("gaussian", preprocess)
    bits = evaluate(floor.evaluation, ["log_prob"])["log_prob/bits_per_dim"]
    assert bits.protocol["guarantee"] == "upper bound"
    assert 2.0 < bits.value < np.log2(17)
    shown = floor.to_display(jnp.array([[[[-0.2], [0.5], [1.4]]]]))
    np.testing.assert_allclose(shown.ravel() * 16, [0, 8, 16], atol=1e-5)
    assert "1,257 of 1,257 training examples" in contestant.entry.summary


def test_frequencies_give_exact_bits_of_levels():
    _, floor = subject("factorized", data.scale(levels=17))
    bits = evaluate(floor.evaluation, ["log_prob"])["log_prob/bits_per_dim"]
    train, test = (DIGITS.splits[name].arrays["x"].reshape(-1, 64) for name in ("train", "test"))
    counts = np.stack([(train == value).sum(axis=0) for value in range(17)]) + 0.5
    masses = counts / counts.sum(axis=0)
    expected = -np.log2(masses[test, np.arange(64)[None]]).mean()
    assert bits.protocol["guarantee"] == "exact"
    assert bits.value == pytest.approx(expected, rel=1e-5)


def test_floors_of_other_displays_see_what_the_model_sees():
    contestant, floor = subject("factorized", data.static_binarization(levels=17))
    assert contestant.entry.model == "Factorized"
    samples = np.asarray(next(floor.evaluation.samples(0)))
    assert set(np.unique(samples)) == {0.0, 1.0}
    _, floor = subject("bootstrap", data.scale(levels=17, low=-1.0))
    assert np.asarray(next(floor.evaluation.samples(0))).min() == -1.0
    assert float(floor.evaluation.to_display(jnp.full((1, 8, 8, 1), -1.0)).min()) == 0.0


def test_a_fit_repeats_with_its_seed():
    drawn = [subject("kernel_density", data.scale(levels=17))[1].evaluation.variables for _ in range(2)]
    jax.tree.map(np.testing.assert_array_equal, *drawn)
