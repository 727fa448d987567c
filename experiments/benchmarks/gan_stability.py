"""Stability of adversarial training: objectives × regularizers on a ring of 8 Gaussians, over seeds.

    python experiments/benchmarks/gan_stability.py [--json] [--repeats 8] [--steps 3000] [--only hinge]

Each cell of the table trains one run per seed, in one program by ``vmap``: perceptrons with two layers of 128 units, 16
latent dimensions, batches of 128, one update of each network per step, Adam (β₁ = 0.5) with a learning rate of 10⁻³.
Metrics use 10,000 samples of each run:

* modes: number of the 8 modes with a sample within three standard deviations (0.02);
* quality: fraction of samples that lie within three standard deviations of a mode;
* diverged: number of runs that ended with values that are not finite, which count as zero modes and zero quality.

Values are means over the runs, ± their standard deviation. Samples are those of the last step, without averaged
parameters and with a constant learning rate, to show the dynamics of the game itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from report import arguments, machine

from genjax import clip_params, gan, gradient_learner
from genjax.core import step_key, stream_key
from genjax.data import synthetic
from genjax.metrics import GaussianModes

RING = synthetic.GaussianRing()
LATENT_DIM, WIDTHS, BATCH, LEARNING_RATE, CLIP, NUM_SAMPLES = 16, (128, 128), 128, 1e-3, 0.1, 10_000
METRIC = GaussianModes(modes=RING.modes.tolist(), scale=RING.scale)
OBJECTIVES: Mapping[str, gan.AdversarialLoss] = {
    "minimax": gan.Minimax(),
    "non-saturating": gan.NonSaturating(),
    "least squares": gan.LeastSquares(),
    "Wasserstein": gan.Wasserstein(),
    "hinge": gan.Hinge(),
    "relativistic": gan.RelativisticAverage(),
}


def jittered(key: jax.Array, x: jax.Array) -> jax.Array:
    """Add noise as wide as a mode, the augmentation for the consistency penalty."""
    return x + RING.scale * jax.random.normal(key, x.shape)


class Regularizer(NamedTuple):
    """A regularizer: fields of the model, normalization of the discriminator, or a limit of its parameters."""

    fields: Mapping[str, Any] = {}
    normalization: Any = None
    clip: float | None = None


REGULARIZERS: Mapping[str, Regularizer] = {
    "none": Regularizer(),
    "weight clipping": Regularizer(clip=CLIP),
    "gradient penalty": Regularizer({"penalties": (gan.GradientPenalty(weight=1.0),)}),
    "R1": Regularizer({"penalties": (gan.R1(weight=0.1),)}),
    "spectral norm": Regularizer(normalization="spectral"),
    "packing of 2": Regularizer({"pack": 2}),
    "consistency": Regularizer(
        {"penalties": (gan.ConsistencyPenalty(augment=jittered, weight=10.0, fake_weight=10.0),)}
    ),
}


class Cell(NamedTuple):
    """Metrics of K runs, shape (K,) each."""

    modes: np.ndarray
    quality: np.ndarray
    diverged: np.ndarray


def trained(objective: str, regularizer: str, *, num_seeds: int, steps: int) -> Cell:
    """Train one cell of the table."""
    settings = REGULARIZERS[regularizer]
    model = gan.GAN(
        latent_dim=LATENT_DIM,
        generator=gan.MLPGenerator(WIDTHS, output_shape=(2,)),
        discriminator=gan.MLPDiscriminator(WIDTHS, normalization=settings.normalization),
        adversarial_loss=OBJECTIVES[objective],
        **settings.fields,
    )
    adam = optax.adam(LEARNING_RATE, b1=0.5)
    critic = adam if settings.clip is None else optax.chain(adam, clip_params(settings.clip))
    learner = gradient_learner(model, {"discriminator": critic, "generator": adam})

    def run(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        def step(train: Any, _: None) -> tuple[Any, None]:
            batch = {"x": RING.sample(step_key(stream_key(key, "data"), train.step), BATCH)}
            return learner.step(train, step_key(stream_key(key, "train"), train.step), batch)[0], None

        train = learner.init(stream_key(key, "init"), {"x": jnp.zeros((BATCH, 2))})
        train = jax.lax.scan(step, train, length=steps)[0]
        x = model.sample(train.variables, stream_key(key, "samples"), NUM_SAMPLES)
        finite = jnp.all(jnp.isfinite(x))
        values = METRIC.compute(METRIC.update(METRIC.init(), jnp.where(finite, x, 0.0)))
        return values["modes_captured"] * finite, values["high_quality_share"] * finite, ~finite

    keys = jax.vmap(jax.random.key)(np.arange(num_seeds))
    return Cell(*(np.asarray(value, np.float64) for value in jax.jit(jax.vmap(run))(keys)))


def main() -> None:
    """Train all cells and print the table row by row."""
    more = {
        "steps": {"type": int, "default": 3_000, "help": "number of training steps"},
        "only": {"default": "", "help": "train only cells whose objective or regularizer contains this"},
    }
    options = arguments(__doc__ or "", repeats=8, **more)
    cells = [(o, r) for o in OBJECTIVES for r in REGULARIZERS if options.only in f"{o} {r}"]
    if not cells:
        sys.exit(f"only is {options.only!r}, but names are {', '.join([*OBJECTIVES, *REGULARIZERS])}")
    print_cell: Callable[[str, str, Cell, float], None] = print_json if options.json else print_text
    if not options.json:
        print(f"{'objective':<16}{'regularizer':<18}{'modes of 8':>14}{'quality, %':>16}{'diverged':>10}")
    for objective, regularizer in cells:
        started = time.perf_counter()
        cell = trained(objective, regularizer, num_seeds=options.repeats, steps=options.steps)
        print_cell(objective, regularizer, cell, time.perf_counter() - started)
    if not options.json:
        print(f"{options.repeats} seeds, {options.steps:,} steps; {machine()}")


def print_text(objective: str, regularizer: str, cell: Cell, seconds: float) -> None:
    """Print a row of the table."""
    modes = f"{cell.modes.mean():.1f} ± {cell.modes.std(ddof=1):.1f}"
    quality = f"{100 * cell.quality.mean():.1f} ± {100 * cell.quality.std(ddof=1):.1f}"
    print(
        f"{objective:<16}{regularizer:<18}{modes:>14}{quality:>16}{int(cell.diverged.sum()):>10}   {seconds:.0f} s",
        flush=True,
    )


def print_json(objective: str, regularizer: str, cell: Cell, seconds: float) -> None:
    """Print a line of JSON."""
    values = {name: value.tolist() for name, value in cell._asdict().items()}
    entries = {"objective": objective, "regularizer": regularizer, **values, "seconds": round(seconds, 1)}
    print(json.dumps({**entries, "machine": machine()}), flush=True)


if __name__ == "__main__":
    main()
