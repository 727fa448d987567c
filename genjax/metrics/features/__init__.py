"""Feature networks for comparing samples: pixels, n-grams, a classifier trained on the data set, Inception."""

from genjax.data import Dataset
from genjax.metrics.features.classifier import Recipe as Recipe
from genjax.metrics.features.classifier import classifier as classifier
from genjax.metrics.features.inception import inception as inception
from genjax.metrics.features.network import FeatureNetwork as FeatureNetwork
from genjax.metrics.features.network import Outputs as Outputs
from genjax.metrics.features.network import extract as extract
from genjax.metrics.features.ngrams import NAME as NGRAMS
from genjax.metrics.features.ngrams import ngrams as ngrams
from genjax.metrics.features.pixels import pixels as pixels


def feature_network(spec: str, dataset: Dataset | None = None) -> FeatureNetwork:
    """Return a feature network by its name on the command line.

    Names are "pixels", "ngrams" for texts, "classifier:DATASET" (trained with seed 0 unless cached), "classifier",
    which is trained on ``dataset``, and "inception:WEIGHTS". Unknown names and data sets raise ValueError, and a
    missing file of weights FileNotFoundError.

    >>> feature_network("pixels").name
    'pixels'
    """
    from genjax.data import load

    kind, _, argument = spec.partition(":")
    if kind == "pixels" and not argument:
        return pixels()
    if kind == NGRAMS and not argument:
        if dataset is not None and dataset.tokenizer is None:
            raise ValueError(f"features is {spec!r}, but {dataset.name} holds no texts; use pixels or classifier")
        return ngrams()
    if spec == "classifier" and dataset is not None:
        return classifier(dataset, Recipe(seed=0))
    if kind == "classifier" and argument:
        return classifier(load(argument), Recipe(seed=0))
    if kind == "inception" and argument:
        return inception(argument)
    raise ValueError(
        f"features is {spec!r}, but must be pixels, {NGRAMS} for texts, classifier:DATASET such as classifier:mnist, "
        "classifier for the data of a run, or inception:WEIGHTS.safetensors"
    )
