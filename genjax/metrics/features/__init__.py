"""Feature networks, on whose outputs samples are compared: pixels, a classifier trained here, Inception."""

from __future__ import annotations

from genjax.metrics.features.classifier import Recipe as Recipe
from genjax.metrics.features.classifier import classifier as classifier
from genjax.metrics.features.inception import inception as inception
from genjax.metrics.features.network import FeatureNetwork as FeatureNetwork
from genjax.metrics.features.network import Outputs as Outputs
from genjax.metrics.features.network import extract as extract
from genjax.metrics.features.pixels import pixels as pixels


def feature_network(spec: str) -> FeatureNetwork:
    """Return the network that a command line names.

    Args:
      spec: "pixels", "classifier:DATASET" (trained with seed 0 unless it is in the cache) or "inception:WEIGHTS".

    Raises:
      ValueError: for any other, or a data set that there is not.
      FileNotFoundError: for weights that are not there.

    >>> feature_network("pixels").name
    'pixels'
    """
    from genjax.data import load

    kind, _, argument = spec.partition(":")
    if kind == "pixels" and not argument:
        return pixels()
    if kind == "classifier" and argument:
        return classifier(load(argument), Recipe(seed=0))
    if kind == "inception" and argument:
        return inception(argument)
    raise ValueError(
        f"features is {spec!r}, but must be pixels, classifier:DATASET such as classifier:mnist, "
        "or inception:WEIGHTS.safetensors"
    )
