"""Where the checks of training begin to warn."""

import numpy as np
import pytest

from genjax import gan, nets
from genjax.monitoring import checks
from genjax.monitoring.monitor import penalty_interval

VECTOR = {"kl_per_dimension": np.zeros(20)}
GAN = {"coverage": 0.9, "discriminator_std": 1.0, "generator_gradient": 1.0}

ENERGY = {"chain_movement": 1.0, "sample_spread": 1.0, "energy_gap_per_entry": 0.1}


def arrays(values):
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def spread(mean, error, num=100):
    """Return numbers with this mean and this standard error of it."""
    signs = np.where(np.arange(num) % 2, 1.0, -1.0)
    return mean + error * np.sqrt(num) * signs / signs.std(ddof=1)


@pytest.mark.parametrize(
    ("check", "values", "warns"),
    [
        (checks.posterior_collapse([]), {"active_units": 1, **VECTOR}, True),  # of 20
        (checks.posterior_collapse([]), {"active_units": 2, **VECTOR}, False),
        (checks.codebook_collapse(100, 1_000), {"codebook_usage": 0.09}, True),
        (checks.codebook_collapse(100, 1_000), {"codebook_usage": 0.10}, False),
        (checks.codebook_collapse(1_000, 50), {"codebook_usage": 0.004}, True),  # at most 50 can be used
        (checks.codebook_collapse(1_000, 50), {"codebook_usage": 0.005}, False),
        (checks.gan_failure(), GAN, False),
        (checks.gan_failure(), GAN | {"coverage": 0.2}, True),
        (checks.gan_failure(), GAN | {"coverage": 0.3}, False),
        (checks.gan_failure(), GAN | {"discriminator_std": 1e-7}, True),
        (checks.gan_failure(), GAN | {"generator_gradient": 1e-5}, True),
        (checks.kernel_bandwidth, {"mean_kernel": 0.005, "distance": 1.0}, True),
        (checks.kernel_bandwidth, {"mean_kernel": 0.995, "distance": 1.0}, True),
        (checks.kernel_bandwidth, {"mean_kernel": 0.02, "distance": 1.0}, False),
        (checks.chain_mixing, {"chain_movement": 0.008}, True),
        (checks.chain_mixing, {"chain_movement": 0.012}, False),
        (checks.chain_mixing, ENERGY | {"chain_movement": 0.008}, True),
        (checks.unstable_energy, ENERGY, False),
        (checks.unstable_energy, ENERGY | {"sample_spread": 11.0}, True),
        (checks.unstable_energy, ENERGY | {"sample_spread": 0.01}, True),
        (checks.unstable_energy, ENERGY | {"energy_gap_per_entry": -11.0}, True),
        (checks.unstable_energy, ENERGY | {"energy_gap_per_entry": 9.0}, False),
        (checks.buffer_collapse, {"buffer_coverage": 0.2}, True),
        (checks.buffer_collapse, {"buffer_coverage": 0.3}, False),
        (checks.diverged_parameters, {"gain": spread(-0.9, 0.01)}, False),
        (checks.diverged_parameters, {"gain": spread(-1.1, 0.01)}, True),
        (checks.diverged_parameters, {"gain": spread(-5.0, 2.0)}, False),  # 2.5 standard errors
        (checks.diverged_parameters, {"gain": spread(-7.0, 2.0)}, True),
        (checks.diverged_parameters, {"gain": spread(-7.0, 0.1), "log_partition_error": 3.0}, False),
    ],
)
def test_thresholds(check, values, warns):
    assert (check(arrays(values)) is not None) == warns


@pytest.mark.parametrize(
    ("drop", "error", "warns"),
    [
        (spread(1.0, 0.1), 0.1, True),
        (spread(1.0, 0.4), 0.1, False),  # 2.5 standard errors
        (spread(0.4, 0.01), 0.1, False),  # 4 % of a gain of 10 nats
        (spread(0.6, 0.01), 0.1, True),
        (spread(1.0, 0.1), 0.3, False),  # reconstructions are worse, too
    ],
)
def test_a_likelihood_falls_beyond_its_error_while_reconstructions_improve(drop, error, warns):
    check, log_prob = checks.FallingLikelihood(), spread(-50.0, 1.0)
    first = {"log_prob": log_prob, "gain": np.full(100, 10.0), "reconstruction_error": 0.2, "step": 1}
    second = first | {"log_prob": log_prob - drop, "reconstruction_error": error, "step": 2}
    assert check(arrays(first)) is None
    assert (check(arrays(second)) is not None) == warns


@pytest.mark.parametrize(("every", "cure"), [(1, "add a penalty (gan.R1"), (16, "every=1; one has every=16")])
def test_the_cure_of_lost_modes_depends_on_how_often_penalties_are_computed(every, cure):
    model = gan.GAN(
        latent_dim=2,
        generator=nets.MLP((2,)),
        discriminator=nets.MLP((1,)),
        penalties=(gan.R1(), gan.R1(every=every)),
    )
    assert penalty_interval(model) == every
    assert cure in checks.gan_failure(penalty_interval(model))(arrays(GAN | {"coverage": 0.2}))
