"""Models of codes: a prior over an autoencoder's codes, greedily trained stacks, interpolations and traversals."""

from genjax.latent.greedy import greedy_stages, layer_variables
from genjax.latent.latent_model import LatentModel, two_stages
from genjax.latent.traversal import (
    add_attribute,
    add_attribute_to,
    attribute_vector,
    attribute_vector_of,
    interpolate,
    traverse,
)
from genjax.latent.unit_scale import UnitScale

__all__ = [
    "LatentModel",
    "UnitScale",
    "add_attribute",
    "add_attribute_to",
    "attribute_vector",
    "attribute_vector_of",
    "greedy_stages",
    "interpolate",
    "layer_variables",
    "traverse",
    "two_stages",
]
