"""What is done with codes: a prior over them, stacks of models on them, and walks among them."""

from genjax.latent.greedy import finished_layers, greedy_stages
from genjax.latent.model import LatentModel, two_stages
from genjax.latent.walks import (
    OneClass,
    add_attribute,
    add_attribute_to,
    attribute_vector,
    attribute_vector_of,
    interpolate,
    traverse,
)

__all__ = [
    "LatentModel",
    "OneClass",
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
