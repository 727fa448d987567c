"""Models that match moments."""

from __future__ import annotations

from genjax import gan, moment_matching, nets
from tests.contract.batches import NUM_FEATURES, grey_batch, unit_batch
from tests.contract.case import Case


def _gmmn() -> moment_matching.GMMN:
    return moment_matching.GMMN(
        latent_dim=3, generator=nets.MLP(features=(8, NUM_FEATURES)), bandwidths=(0.5, 1.0, 4.0), chunk_size=3
    )


def _drifting() -> moment_matching.Drifting:
    return moment_matching.Drifting(
        latent_dim=3, generator=gan.MLPGenerator((8,), output_shape=(4, 4, 1)), widths=(0.5, 2.0), num_classes=3
    )


CASES = (Case("gmmn", _gmmn, batch=unit_batch), Case("drifting", _drifting, batch=grey_batch))
