"""The values themselves as features, for data that no network was trained on: points, tables, tiny images."""

from __future__ import annotations

from genjax.core import Array
from genjax.metrics.features.network import FeatureNetwork, Outputs


def _flattened(variables: None, x: Array) -> Outputs:
    del variables
    return Outputs(x.reshape(x.shape[0], -1), None)


def pixels() -> FeatureNetwork:
    """Return the identity, flattened."""
    return FeatureNetwork(name="pixels", hash=None, variables=None, apply=_flattened, requires_images=False)
