"""Raw values as features, for data without a suitable network: points, tables, tiny images."""

from __future__ import annotations

from genjax.core import Array
from genjax.metrics.features.network import FeatureNetwork, Outputs


def _flattened(variables: None, x: Array) -> Outputs:
    del variables
    return Outputs(x.reshape(x.shape[0], -1), None)


def pixels() -> FeatureNetwork:
    """Return the network that flattens its input, whose values it takes as they are."""
    return FeatureNetwork(
        name="pixels", hash=None, variables=None, apply=_flattened, requires_images=False, levels=None
    )
