"""What is done with codes: a prior over them, stacks of models on them, and walks among them."""

from genjax.latent.greedy import finished_layers, greedy_stages
from genjax.latent.latent_model import LatentModel, two_stages
from genjax.latent.traversal import (
    FixedLabel,
    add_attribute,
    add_attribute_to,
    attribute_vector,
    attribute_vector_of,
    interpolate,
    traverse,
)

__all__ = [
    "FixedLabel",
    "LatentModel",
    "add_attribute",
    "add_attribute_to",
    "attribute_vector",
    "attribute_vector_of",
    "finished_layers",
    "greedy_stages",
    "interpolate",
    "traverse",
    "two_stages",
]
