"""Tables, settings and floors of comparisons."""

from functools import partial

from genjax.comparison import floor_models, settings, speed, table

PACKAGES = (table, settings, floor_models)
CASES = (
    partial(table.Column, name="fd", title="FD", group="quality", source="frechet_distance"),
    partial(table.Entry, name="vae", kind="model", model="VAE"),
    partial(table.Cell, entry="vae", column="fd"),
    partial(table.Table, columns=(), entries=(), cells=()),
    partial(settings.ComparisonSettings),
    partial(floor_models.Factorized, num_values=2, low=0.0, high=1.0),
    partial(floor_models.MarkovChain, num_values=2, length=3),
    partial(floor_models.MixtureOfGaussians),
    partial(floor_models.NearestNeighbours),
    partial(speed.durations, function=lambda: None, repeats=1),
)
