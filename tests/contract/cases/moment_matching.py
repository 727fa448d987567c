"""Models that match moments."""

from __future__ import annotations

from genjax import moment_matching, nets
from tests.contract.batches import NUM_FEATURES, unit_batch
from tests.contract.case import Case


def _gmmn() -> moment_matching.GMMN:
    return moment_matching.GMMN(
        latent_dim=3, generator=nets.MLP(features=(8, NUM_FEATURES)), bandwidths=(0.5, 1.0, 4.0), chunk_size=3
    )


CASES = (Case("gmmn", _gmmn, batch=unit_batch),)
