"""The alarm for dead latent variables: it rings for the dead, once, and not for the living or the newly born."""

import warnings
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import data, gan, nets, ops, vae
from genjax.core import Variables
from genjax.data import synthetic
from genjax.runner import Experiment, train
from genjax.runner.collapse import FIRST_STEP, CollapseAlarm, CollapseWarning, has_latents, watchable
from genjax.runner.logs import read_rows

X = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
SOURCE = data.arrays(X).splits["train"]
NOTHING = Variables({}, {})


@final
@dataclass(frozen=True, kw_only=True)
class FirstUnits:
    """Its posterior means are the data's first entries, and zero beyond."""

    alive: int

    def posterior(self, variables, x):
        return jnp.where(jnp.arange(20)[None] < self.alive, x, 0.0), jnp.zeros_like(x)


@final
@dataclass(frozen=True, kw_only=True)
class FirstCodes:
    """Uses the first of its 40 codes."""

    used: int
    num_codes: int = 40

    def encode(self, variables, x):
        return jnp.arange(x.size).reshape(x.shape) % self.used


@final
@dataclass(frozen=True, kw_only=True)
class Game:
    """Its diagnosis is known."""

    reached: float = 1.0
    output_deviation: float = 1.0
    slope: float = 1.0

    def diagnose(self, variables, key, batch):
        return {name: jnp.float32(getattr(self, name)) for name in ("reached", "output_deviation", "slope")}


def alarm_of(model, num_seeds=1):
    return CollapseAlarm(model, lambda finished, key, batch: batch, SOURCE, prefix="train/", num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            FirstUnits(alive=1),
            "after step 1,000 1 of 20 latent dimensions vary with the data .posterior collapse.: let",
        ),
        (FirstCodes(used=3), "after step 1,000 3 of 40 codes are used .codebook collapse.: start"),
        (Game(reached=0.2), "after step 1,000 samples reach 20% of the data that data reach .mode collapse.: add"),
        (Game(output_deviation=0.0), "the discriminator's outputs deviate by 0 .it is dead.: lower"),
        (Game(slope=1e-5), "the generator's loss has a slope of 1e-05 .its gradient has vanished.: use"),
    ],
)
def test_it_rings_once_for_the_dead(model, message):
    alarm = alarm_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alarm(FIRST_STEP - 1, NOTHING, {}, jax.random.key(0))
    with pytest.warns(CollapseWarning, match=message):
        alarm(FIRST_STEP, NOTHING, {}, jax.random.key(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alarm(FIRST_STEP + 1, NOTHING, {}, jax.random.key(2))


@pytest.mark.parametrize(
    "model", [FirstUnits(alive=2), FirstCodes(used=4), Game(reached=0.26, output_deviation=1e-5, slope=1e-3)]
)
def test_it_is_silent_for_the_living(model):
    numbers, vectors = alarm_of(model)(FIRST_STEP, NOTHING, {}, jax.random.key(0))
    if isinstance(model, FirstUnits):
        assert numbers == {"train/active_units": 2}
        expected = np.where(np.arange(20) < 2, 0.5 * (X**2).mean(0), 0.0)
        np.testing.assert_allclose(vectors["train/kl_per_dimension"], expected, rtol=1e-4)
    elif isinstance(model, Game):
        expected = {"train/reached": 0.26, "train/output_deviation": 1e-5, "train/slope": 1e-3}
        assert numbers == pytest.approx(expected)
    else:
        np.testing.assert_allclose(numbers["train/codebook_usage"], 0.1)
        np.testing.assert_allclose(numbers["train/perplexity"], 4.0, rtol=1e-5)


def test_what_has_no_latent_variables_is_not_watched():
    assert not watchable(object())
    assert watchable(FirstUnits(alive=1))
    assert watchable(Game())
    assert not has_latents(Game())


def test_a_vae_that_ignores_its_latents_is_reported(tmp_path):
    """A divergence that weighs this much leaves nothing to say: the posterior collapses, whatever the data."""
    model = vae.VAE(
        latent_dim=3,
        encoder=nets.MLP((6,)),
        decoder=nets.MLP((20,)),
        likelihood=ops.Gaussian(log_scale=0.0),
        beta=1e3,
    )
    experiment = Experiment(
        model=model,
        data=data.arrays(X, validation=50),
        optimizer=optax.adam(1e-2),
        steps=FIRST_STEP,
        batch_size=32,
        log_every=250,
        evaluate_every=500,
    )
    with pytest.warns(CollapseWarning, match="0 of 3 latent dimensions vary with the data"):
        train(experiment, seeds=2, workdir=tmp_path / "run", progress=False)
    rows = read_rows(tmp_path / "run")
    active = [row for row in rows if "validation/active_units" in row]
    assert [row["step"] for row in active] == [500, 1000]
    assert active[-1]["validation/active_units/seeds"] == [0, 0]
    kl = [row["validation/kl_per_dimension/each"] for row in rows if "validation/kl_per_dimension/each" in row]
    assert np.shape(kl) == (2, 3)
    assert max(kl[-1]) < 0.01
    assert "![kl per dimension](kl_per_dimension.png)" in (tmp_path / "run" / "report.md").read_text()


def test_a_gan_that_collapsed_is_reported(tmp_path):
    """A generator that moves a hundred times as fast as its discriminator follows it to wherever it points."""
    model = gan.GAN(latent_dim=2, generator=nets.MLP((2,)), discriminator=nets.MLP((8, 1)))
    experiment = Experiment(
        model=model,
        data=synthetic.dataset(synthetic.GaussianRing(), jax.random.key(0), num_train=1_000, num_test=0),
        optimizer={"discriminator": optax.sgd(1e-4), "generator": optax.adam(1e-2)},
        steps=FIRST_STEP,
        batch_size=32,
        log_every=500,
    )
    with pytest.warns(CollapseWarning, match="samples reach [0-9]+% of the data that data reach"):
        train(experiment, workdir=tmp_path / "run", progress=False)
    told = [row for row in read_rows(tmp_path / "run") if "train/reached" in row]
    assert [row["step"] for row in told] == [500, 1000]
    assert 0 <= told[-1]["train/reached"] < 0.25
