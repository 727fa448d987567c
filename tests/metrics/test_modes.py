"""Mode coverage in known cases: counts by hand, and exact samples of the distribution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.data import synthetic
from genjax.metrics.features import FeatureNetwork, Outputs, pixels
from genjax.metrics.modes import GaussianModes, StackedModes, channel_classes

NUM_SAMPLES = 20_000


@pytest.mark.parametrize("density", [synthetic.GaussianGrid(), synthetic.GaussianRing()], ids=lambda d: d.name)
def test_exact_sampling_captures_all_evenly(density):
    metric = GaussianModes(modes=np.asarray(density.modes), scale=density.scale)
    values = metric.compute(metric.update(metric.init(), density.sample(jax.random.key(0), NUM_SAMPLES)))
    num_modes = len(metric.modes)
    assert int(values["modes_captured"]) == num_modes
    share = 1 - np.exp(-9 / 2)  # mass of an isotropic Gaussian in the plane within three standard deviations
    assert abs(float(values["high_quality_share"]) - share) < 4 * np.sqrt(share * (1 - share) / NUM_SAMPLES)
    expected, spread = (num_modes - 1) / (2 * NUM_SAMPLES), np.sqrt(2 * (num_modes - 1)) / (2 * NUM_SAMPLES)
    assert abs(float(values["kl_to_uniform"]) - expected) < 5 * spread


def test_dropped_modes_and_bad_samples_by_hand():
    """Two of four modes, 3 : 1; one sample just inside three standard deviations, one just outside."""
    metric = GaussianModes(modes=((0, 0), (10, 0), (0, 10), (10, 10)), scale=1.0)
    x = jnp.array([[0.0, 0.0], [0.0, 0.0], [2.99, 0.0], [10.0, 10.0], [3.01, 0.0], [5.0, 5.0]])
    values = metric.compute(metric.update(metric.init(), x))
    assert int(values["modes_captured"]) == 2
    np.testing.assert_allclose(values["high_quality_share"], 4 / 6, rtol=1e-6)
    np.testing.assert_allclose(values["kl_to_uniform"], 0.75 * np.log(3) + 0.25 * np.log(1), rtol=1e-6)


def test_narrow_modes_may_lie_far_from_zero():
    """Binary fractions make every difference exact: 1 / 8192 and 1 / 1024 beside 1000."""
    metric = GaussianModes(modes=((1000.0, 1000.0), (1001.0, 1000.0)), scale=2**-12)
    x = jnp.array([[1000 + 2**-13, 1000.0], [1001.0, 1000 - 2**-13], [1000 + 2**-10, 1000.0], [1001.0, 1000.5]])
    values = metric.compute(metric.update(metric.init(), x))
    assert int(values["modes_captured"]) == 2
    assert float(values["high_quality_share"]) == 0.5


def test_a_sample_that_is_not_finite_is_of_low_quality():
    metric = GaussianModes(modes=((0.0,), (10.0,)), scale=1.0)
    values = metric.compute(metric.update(metric.init(), jnp.array([[jnp.nan], [jnp.inf], [0.0], [10.0]])))
    assert (int(values["modes_captured"]), float(values["high_quality_share"])) == (2, 0.5)


def test_one_mode_alone_is_log_k_from_uniform():
    metric = GaussianModes(modes=np.arange(8.0)[:, None] * 10, scale=1.0)
    values = metric.compute(metric.update(metric.init(), jnp.full((5, 1), 30.0)))
    np.testing.assert_allclose(values["kl_to_uniform"], np.log(8), rtol=1e-6)
    nothing = metric.compute(metric.init())
    assert np.isnan(nothing["kl_to_uniform"])
    assert int(nothing["modes_captured"]) == 0


def test_merged_states_have_seen_it_all():
    density = synthetic.GaussianRing()
    metric = GaussianModes(modes=np.asarray(density.modes), scale=density.scale)
    x = density.sample(jax.random.key(1), 100)
    update = jax.jit(metric.update)
    merged = metric.merge(update(metric.init(), x[:30]), update(metric.init(), x[30:]))
    jax.tree.map(np.testing.assert_array_equal, merged, update(metric.init(), x))


def test_stacked_classes_are_modes_of_their_own():
    metric = StackedModes(num_classes=3, num_channels=2)
    every = jnp.stack(jnp.meshgrid(jnp.arange(3), jnp.arange(3)), axis=-1).reshape(9, 2)
    whole = metric.update(metric.init(), every)
    values = metric.compute(whole)
    assert int(values["modes_captured"]) == 9
    np.testing.assert_allclose(values["kl_to_uniform"], 0.0, atol=1e-6)
    mirrored = metric.compute(metric.update(metric.init(), jnp.array([[0, 1], [1, 0], [1, 0], [1, 0]])))
    assert int(mirrored["modes_captured"]) == 2  # (0, 1) is not (1, 0)
    np.testing.assert_allclose(mirrored["kl_to_uniform"], 0.25 * np.log(9 / 4) + 0.75 * np.log(27 / 4), rtol=1e-6)


def test_each_channel_is_read_by_itself():
    """A classifier by the brightness of a single channel."""

    def apply(variables, images):
        del variables
        assert images.shape[-1] == 1
        level = images.mean(axis=(1, 2, 3))
        return Outputs(level[:, None], -jnp.abs(level[:, None] - jnp.array([[0.0, 0.5, 1.0]])))

    network = FeatureNetwork(name="brightness", hash=None, variables=None, apply=apply)
    images = jnp.broadcast_to(jnp.array([[0.0, 1.0, 0.5], [0.5, 0.5, 0.0]])[:, None, None, :], (2, 4, 4, 3))
    np.testing.assert_array_equal(channel_classes(network, images), [[0, 2, 1], [1, 1, 0]])
    with pytest.raises(ValueError, match="pixels has no logits"):
        channel_classes(pixels(), images)


def test_what_has_no_modes_is_refused():
    with pytest.raises(ValueError, match="modes are"):
        GaussianModes(modes=(), scale=1.0)
    with pytest.raises(ValueError, match=r"scale is 0.0, but must be above 0"):
        GaussianModes(modes=((0.0,),), scale=0.0)
    with pytest.raises(ValueError, match="points of 1 coordinates"):
        metric = GaussianModes(modes=((0.0,),), scale=1.0)
        metric.update(metric.init(), jnp.zeros((3, 2)))
