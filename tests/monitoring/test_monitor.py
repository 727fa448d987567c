"""Monitoring: one warning for each kind of failure, and none for sound models or before step 1,000."""

import re
import warnings
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, data, gan, latent, moment_matching, nets, ops, vae
from genjax.core import Variables
from genjax.data import synthetic
from genjax.monitoring.latent_usage import has_latents
from genjax.monitoring.monitor import FIRST_STEP, TrainingMonitor, TrainingWarning, can_monitor, remedies
from genjax.ops.distances import num_nearest
from genjax.runner import Experiment, train
from genjax.runner.log import read_rows
from tests.contract.registry import CASES

X = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
SOURCE = data.arrays(X).splits["train"]
NOTHING = Variables({}, {})


@final
@dataclass(frozen=True, kw_only=True)
class FirstUnits:
    """A model whose posterior means are the first entries of the data, and zero in other dimensions."""

    alive: int

    def posterior(self, variables, x):
        return jnp.where(jnp.arange(20)[None] < self.alive, x, 0.0), jnp.zeros_like(x)


@final
@dataclass(frozen=True, kw_only=True)
class FirstDraws:
    """A model whose posterior samples have the first entries of the data as means, and zero in other dimensions."""

    alive: int

    def sample_prior(self, variables, key, num_samples):
        return jax.random.normal(key, (num_samples, 20))

    def sample_posterior(self, variables, key, x):
        return jnp.where(jnp.arange(20)[None] < self.alive, x, 0.0) + jax.random.normal(key, x.shape)


@final
@dataclass(frozen=True, kw_only=True)
class TwoLayers:
    """A model with ``alive`` of 20 active units in its lower layer, and all in its upper one."""

    alive: int
    num_layers: int = 2
    num_importance_samples: int = 5

    def posterior(self, variables, x):
        return x, jnp.zeros_like(x)

    def sample_layers(self, variables, key, x):
        return FirstDraws(alive=self.alive).sample_posterior(variables, key, x), x


@final
@dataclass(frozen=True, kw_only=True)
class Kernels:
    """A model with a known mean kernel."""

    mean_kernel: float

    def diagnose(self, variables, key, batch):
        return {"mean_kernel": jnp.float32(self.mean_kernel), "distance": jnp.float32(7.0)}


@final
@dataclass(frozen=True, kw_only=True)
class FirstCodes:
    """A model that uses its first ``used`` codes."""

    used: int
    num_codes: int = 40

    def encode(self, variables, x):
        return jnp.arange(x.size).reshape(x.shape) % self.used


@final
@dataclass(frozen=True, kw_only=True)
class Game:
    """A GAN with a known diagnosis."""

    coverage: float = 1.0
    discriminator_std: float = 1.0
    generator_gradient: float = 1.0

    def diagnose(self, variables, key, batch):
        names = ("coverage", "discriminator_std", "generator_gradient")
        return {name: jnp.float32(getattr(self, name)) for name in names}


@final
@dataclass(frozen=True, kw_only=True)
class Machine:
    """A Boltzmann machine whose diagnosis is its parameters."""

    def diagnose(self, variables, key, batch):
        return variables.params


SPREAD = np.array([-1.0, 0.0, 1.0], np.float32)


def machine_variables(
    *,
    log_prob: float | np.ndarray = -10.0,
    reconstruction_error: float | list[float] = 0.1,
    chain_movement: float | list[float] = 0.1,
    gain: float | np.ndarray = 5.0,
    log_partition_error: float = 0.01,
) -> Variables:
    """Return the diagnosis of three examples of different likelihood, as variables."""
    values = {
        "log_prob_estimate": np.asarray(log_prob, np.float32)[..., None] + SPREAD,
        "gain": np.asarray(gain, np.float32)[..., None] + SPREAD / 10,
    }
    scalars = {
        "reconstruction_error": reconstruction_error,
        "chain_movement": chain_movement,
        "log_partition_error": log_partition_error,
    }
    diagnosis = values | {name: np.float32(value) for name, value in scalars.items()}
    shape = np.broadcast_shapes(*(np.shape(value) for value in scalars.values()), np.shape(log_prob))
    whole = {name: np.broadcast_to(v, shape + (3,) * (name in values)) for name, v in diagnosis.items()}
    return Variables(jax.tree.map(jnp.asarray, whole), {})


def monitor_of(model, num_seeds=1):
    return TrainingMonitor(model, lambda finished, key, batch: batch, SOURCE, prefix="train/", num_seeds=num_seeds)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            FirstUnits(alive=1),
            "after step 1,000 1 of 20 latent dimensions vary with the data .posterior collapse.: weaken the decoder",
        ),
        (
            FirstDraws(alive=0),
            "after step 1,000 0 of 20 latent dimensions vary with the data .posterior collapse.: weaken the decoder",
        ),
        (
            TwoLayers(alive=1),
            "1 of 20 latent dimensions of layer 1 vary with .*: draw more .* .num_importance_samples., or weaken",
        ),
        (
            Kernels(mean_kernel=1e-9),
            "mean kernel .* is 1e-09, .* too narrow for examples at a mean distance of 7, and",
        ),
        (Kernels(mean_kernel=0.999), "mean kernel between two examples is 1, .* too wide for examples"),
        (FirstCodes(used=3), "after step 1,000 3 of 40 codes are used .codebook collapse.: initialize"),
        (
            Game(coverage=0.2),
            "after step 1,000 samples cover 20% of the data that .* cover .mode collapse.: add",
        ),
        (Game(discriminator_std=0.0), "the discriminator's outputs have a standard deviation of 0 .it is dead.: lower"),
        (Game(generator_gradient=1e-5), "the gradient of the generator's loss has norm 1e-05 .it has vanished.: use"),
    ],
)
def test_it_rings_once_for_the_dead(model, message):
    monitor = monitor_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor(FIRST_STEP - 1, NOTHING, {}, jax.random.key(0))
    with pytest.warns(TrainingWarning, match=message):
        monitor(FIRST_STEP, NOTHING, {}, jax.random.key(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor(FIRST_STEP + 1, NOTHING, {}, jax.random.key(2))


@pytest.mark.parametrize(
    "model",
    [
        FirstUnits(alive=2),
        FirstDraws(alive=2),
        FirstCodes(used=4),
        Game(coverage=0.26, discriminator_std=1e-5, generator_gradient=1e-3),
    ],
)
def test_it_is_silent_for_the_living(model):
    numbers, vectors = monitor_of(model)(FIRST_STEP, NOTHING, {}, jax.random.key(0))
    if isinstance(model, FirstUnits):
        assert numbers == {"train/active_units": 2}
        expected = np.where(np.arange(20) < 2, 0.5 * (X**2).mean(0), 0.0)
        np.testing.assert_allclose(vectors["train/kl_per_dimension"], expected, rtol=1e-4)
    elif isinstance(model, TwoLayers):
        assert numbers == {"train/active_units": 20, "train/active_units_1": 3}
        np.testing.assert_allclose(vectors["train/variance_of_means_1"][:3], X.var(0)[:3], atol=0.1)
    elif isinstance(model, Kernels):
        assert numbers == pytest.approx({"train/mean_kernel": 0.02, "train/distance": 7.0})
    elif isinstance(model, FirstDraws):
        np.testing.assert_allclose(vectors["train/variance_of_means"][:2], X.var(0)[:2], atol=0.1)
    elif isinstance(model, Game):
        expected = {"train/coverage": 0.26, "train/discriminator_std": 1e-5, "train/generator_gradient": 1e-3}
        assert numbers == pytest.approx(expected)
    else:
        np.testing.assert_allclose(numbers["train/codebook_usage"], 0.1)
        np.testing.assert_allclose(numbers["train/code_perplexity"], 4.0, rtol=1e-5)


def test_what_has_no_latent_variables_is_not_watched():
    assert not can_monitor(object())
    assert can_monitor(FirstUnits(alive=1))
    assert can_monitor(FirstDraws(alive=1))
    assert can_monitor(Game())
    assert not has_latents(Game())


def test_few_examples_cannot_use_a_large_codebook():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor_of(FirstCodes(used=300, num_codes=5_000))(FIRST_STEP, NOTHING, {}, jax.random.key(0))
    with pytest.warns(TrainingWarning, match="20 of 5000 codes are used"):
        monitor_of(FirstCodes(used=20, num_codes=5_000))(FIRST_STEP, NOTHING, {}, jax.random.key(0))


def test_cures_are_those_that_a_model_has():
    tiny = {"encoder": nets.MLP((4,)), "decoder": nets.MLP((4,)), "likelihood": ops.Bernoulli()}
    assert [remedy.split()[0] for remedy in remedies(vae.VAE(latent_dim=2, **tiny))] == ["raise", "lower"]
    adversarial = vae.AdversarialAutoencoder(prior=ops.StandardNormal(2), discriminator=nets.MLP((1,)), **tiny)
    assert remedies(adversarial) == ["lower the learning rate of 'regularizer'"]


def test_the_autoencoder_below_a_prior_is_watched():
    prior = moment_matching.GMMN(latent_dim=2, generator=nets.MLP((2,)), bandwidths=(1.0,))
    inner = vae.VAE(
        latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((20,)), likelihood=ops.Gaussian(log_scale=0.0)
    )
    model = latent.LatentModel(autoencoder=inner, prior=prior)
    assert can_monitor(model)
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X)})
    numbers, _ = monitor_of(model)(1, variables, {}, jax.random.key(1))
    expected = (np.var(inner.encode(model.part(variables, "autoencoder"), X), axis=0) > 0.01).sum()
    assert numbers == {"train/active_units": expected}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"chain_movement": 0.004},
            "in one update, chains move by 0.4 % of the distance between examples; below 1 % they do not mix",
        ),
        (
            {"gain": -1.2},
            "the log-likelihood is 1.2 nats below that of independent units; .* have diverged: lower the learning",
        ),
    ],
)
def test_it_rings_once_for_machines(wrong, message):
    monitor = monitor_of(Machine())
    for step, expects_warning in ((FIRST_STEP - 1, False), (FIRST_STEP, True), (FIRST_STEP + 1, False)):
        with warnings.catch_warnings(record=True) as warning_list:
            warnings.simplefilter("always")
            monitor(step, machine_variables(**wrong), {}, jax.random.key(0))
        assert len(warning_list) == expects_warning
        if expects_warning:
            assert warning_list[0].category is TrainingWarning
            assert re.match(f"after step 1,000 {message}", str(warning_list[0].message))


def test_machines_that_learn_are_told_and_not_warned_of():
    monitor = monitor_of(Machine())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers, vectors = monitor(
            FIRST_STEP, machine_variables(chain_movement=0.011, gain=-0.9), {}, jax.random.key(0)
        )
    assert not vectors
    expected = {"chain_movement": 0.011, "gain": -0.9, "log_prob_estimate": -10, "reconstruction_error": 0.1}
    assert numbers == pytest.approx({f"train/{k}": v for k, v in (expected | {"log_partition_error": 0.01}).items()})


@pytest.mark.parametrize(
    ("now", "expects_warning"),
    [
        ({"log_prob": -10.3, "reconstruction_error": 0.09}, True),
        ({"log_prob": -10.3, "reconstruction_error": 0.11}, False),  # both are worse, which the log shows anyway
        ({"log_prob": -10.2, "reconstruction_error": 0.09}, False),  # less than 5 % of the gain
        ({"log_prob": -10.3, "reconstruction_error": 0.09, "log_partition_error": 0.1}, False),
        ({"log_prob": -9.0, "reconstruction_error": 0.09}, False),
    ],
)
def test_it_rings_for_likelihoods_that_fall_as_reconstructions_improve(now, expects_warning):
    monitor = monitor_of(Machine())
    evaluations = [{"log_prob": -12.0, "reconstruction_error": 0.2}, {}, now]
    with warnings.catch_warnings(record=True) as warning_list:
        warnings.simplefilter("always")
        for number, values in enumerate(evaluations):
            monitor(FIRST_STEP + number, machine_variables(**values), {}, jax.random.key(0))
    messages = [str(warning.message) for warning in warning_list]
    if not expects_warning:
        assert messages == []
    else:
        (message,) = messages
        assert "after step 1,002 the log-likelihood is 0.3 nats below that of step 1,001, although" in message
        assert "fell from 0.1 to 0.09: use boltzmann.Persistent or boltzmann.ParallelTempering instead of" in message


def test_the_worst_replica_rings():
    monitor = monitor_of(Machine(), num_seeds=2)
    keys = lambda seed: jax.random.split(jax.random.key(seed), 2)  # noqa: E731
    monitor(500, machine_variables(log_prob=np.array([-9.0, -10.0]), reconstruction_error=[0.1, 0.3]), {}, keys(0))
    # The likelihood of the first replica rises, and that of the second falls.
    later = machine_variables(
        log_prob=np.array([-8.0, -11.0]), reconstruction_error=[0.1, 0.2], chain_movement=[0.1, 0.2]
    )
    with pytest.warns(TrainingWarning, match="likelihood is 1 nats below that of step 500, .* fell from 0.3 to 0.2"):
        numbers, _ = monitor(FIRST_STEP, later, {}, keys(1))
    np.testing.assert_allclose(numbers["train/log_prob_estimate"], [-8, -11], rtol=1e-6)
    np.testing.assert_allclose(numbers["train/chain_movement"], [0.1, 0.2], rtol=1e-6)


def test_replicas_draw_from_their_own_posteriors():
    keys = jax.random.split(jax.random.key(0), 2)
    variables = Variables({"replica": jnp.zeros(2)}, {})
    numbers, vectors = monitor_of(FirstDraws(alive=3), num_seeds=2)(FIRST_STEP, variables, {}, keys)
    np.testing.assert_array_equal(numbers["train/active_units"], [3, 3])
    assert (vectors["train/variance_of_means"][0] != vectors["train/variance_of_means"][1]).all()


SORTED = data.arrays(np.repeat(np.eye(5, 20, dtype=np.float32), 1_000, axis=0)).splits["train"]


def test_examples_are_drawn_from_the_whole_of_a_sorted_source():
    """Of five classes in order, the first 1,000 examples are one, whose posterior means do not vary."""
    monitor = TrainingMonitor(FirstUnits(alive=20), lambda finished, key, batch: batch, SORTED, prefix="train/")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers, _ = monitor(FIRST_STEP, NOTHING, {}, jax.random.key(0))
    assert numbers == {"train/active_units": 5}


def test_a_generator_of_one_class_in_five_covers_a_third():
    """500 samples reach 4/5 of the 100 points of their class, and other data 1/2 of all 500: 80 / 250.

    Half of a batch stands for the data and half for other data, so that its order must be random: the first 1,000
    examples in their order are all of one class, of which the generator covers 97 %.
    """

    class OneClass:
        def diagnose(self, variables, key, batch):
            data_key, sample_key = jax.random.split(key)
            first, second = jnp.split(batch["x"] + 0.01 * jax.random.normal(data_key, batch["x"].shape), 2)
            samples = jnp.zeros_like(first).at[:, 0].set(1.0) + 0.01 * jax.random.normal(sample_key, first.shape)
            ones = jnp.ones(())
            coverage = num_nearest(first, samples) / num_nearest(first, second)
            return {"coverage": coverage, "discriminator_std": ones, "generator_gradient": ones}

    monitor = TrainingMonitor(OneClass(), lambda finished, key, batch: batch, SORTED, prefix="train/")
    numbers, _ = monitor(FIRST_STEP, NOTHING, {}, jax.random.key(0))
    assert 0.25 < numbers["train/coverage"] < 0.4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_it_tells_at_once_and_once_of_values_that_are_not_finite(value):
    monitor = monitor_of(Machine())
    message = r"after step 7 1 of 1 values of chain_movement on split 'train' are not finite: lower the learning rate"
    with pytest.warns(TrainingWarning, match=message):
        numbers, _ = monitor(7, machine_variables(chain_movement=value), {}, jax.random.key(0))
    assert not np.isfinite(numbers["train/chain_movement"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor(8, machine_variables(chain_movement=value), {}, jax.random.key(0))


def test_held_out_scores_that_are_not_finite_are_told_with_step_and_split():
    @dataclass(frozen=True)
    class Impossible(vae.VAE):
        def log_prob_lower_bound(self, variables, key, x, **options):
            return jnp.where(x[:, 0] > 0, jnp.nan, 0.0)

    net = nets.MLP((20,))
    model = Impossible(latent_dim=2, encoder=nets.MLP((4,)), decoder=net, likelihood=ops.Gaussian(log_scale=0.0))
    dataset = data.arrays(X, validation=50)
    experiment = Experiment(model=model, data=dataset, optimizer=optax.sgd(1e-3), steps=2, batch_size=8, log_every=1)
    count = int((X[250:, 0] > 0).sum())
    message = f"after step 1 {count} of 50 values of log_prob_lower_bound on split 'validation' are not finite"
    with pytest.warns(TrainingWarning, match=message) as warning_list:
        train(experiment, progress=False)
    assert len([w for w in warning_list if "log_prob_lower_bound" in str(w.message)]) == 1


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"ema_decay": 0.9}, True),
        ({"ema_decay": None}, False),
        ({"ema_decay": 0.9, "variables": lambda finished: finished["model"]}, False),
    ],
)
def test_averaged_parameters_with_other_batch_statistics_are_told(settings, warns):
    generator = gan.MLPGenerator((4,), (20,), normalization="batch")
    model = gan.GAN(latent_dim=2, generator=generator, discriminator=nets.MLP((4, 1)))
    experiment = Experiment(
        model=model, data=data.arrays(X), optimizer=optax.sgd(1e-3), steps=1, batch_size=8, log_every=1, **settings
    )
    with warnings.catch_warnings(record=True) as warning_list:
        warnings.simplefilter("always")
        train(experiment, progress=False)
    messages = [str(w.message) for w in warning_list if w.category is TrainingWarning]
    assert sum("evaluated with batch statistics of the parameters in training: compute" in m for m in messages) == warns


def test_a_vae_that_ignores_its_latents_is_reported(tmp_path):
    """With this large a weight of the divergence, the posterior collapses for any data."""
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
    with pytest.warns(TrainingWarning, match="0 of 3 latent dimensions vary with the data"):
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
    """With a hundred times the learning rate of the discriminator, the generator collapses to a maximum of it."""
    model = gan.GAN(latent_dim=2, generator=nets.MLP((2,)), discriminator=nets.MLP((8, 1)))
    experiment = Experiment(
        model=model,
        data=synthetic.dataset(synthetic.GaussianRing(), jax.random.key(0), num_train=1_000, num_test=0),
        optimizer={"discriminator": optax.sgd(1e-4), "generator": optax.adam(1e-2)},
        steps=FIRST_STEP,
        batch_size=32,
        log_every=500,
    )
    with pytest.warns(TrainingWarning, match="samples cover [0-9]+% of the data that other data cover"):
        train(experiment, workdir=tmp_path / "run", progress=False)
    rows = [row for row in read_rows(tmp_path / "run") if "train/coverage" in row]
    assert [row["step"] for row in rows] == [500, 1000]
    assert 0 <= rows[-1]["train/coverage"] < 0.25


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            moment_matching.GMMN(latent_dim=2, generator=nets.MLP((1,)), bandwidths=(1.0,)),
            "number of examples is 1, but must be at least 2, to compare them; hold out more for validation",
        ),
        (
            gan.GAN(latent_dim=2, generator=nets.MLP((1,)), discriminator=nets.MLP((1,)), pack=2),
            "x has 3 examples, but a diagnosis compares groups of pack=2 examples; hold out at least 4",
        ),
    ],
    ids=["GMMN", "GAN"],
)
def test_too_few_examples_to_diagnose_are_refused_before_anything_is_written(model, message, tmp_path):
    held_out = 1 if isinstance(model, moment_matching.GMMN) else 3
    experiment = Experiment(
        model=model,
        data=data.arrays(np.arange(12.0)[:, None], validation=held_out),
        optimizer=optax.sgd(0.1),
        steps=2,
        batch_size=4,
    )
    with pytest.raises(ValueError, match=message):
        train(experiment, workdir=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def train_machine(phase, learning_rate, *, steps, folder, digits=True):
    """Train on binarized digits or on bars and stripes; return warnings, and rows with a diagnosis."""

    def binarized(key, batch):
        return {"x": (batch["x"] > 8).astype(jnp.float32)}

    dataset = data.digits() if digits else data.bars_and_stripes(4)
    experiment = Experiment(
        model=boltzmann.RBM(
            shape=(8, 8, 1) if digits else (4, 4, 1), num_hidden=64 if digits else 16, negative_phase=phase
        ),
        data=dataset,
        preprocess=binarized if digits else data.scale(levels=2),
        optimizer=optax.sgd(learning_rate),
        steps=steps,
        batch_size=100 if digits else 30,
        log_every=500,
        evaluate_every=500,
    )
    with warnings.catch_warnings(record=True) as warning_list, jax.debug_key_reuse(False):  # see test_annealing
        warnings.simplefilter("always")
        train(experiment, workdir=folder, progress=False)
    rows = [row for row in read_rows(folder) if "validation/chain_movement" in row]
    return [str(warning.message) for warning in warning_list if warning.category is TrainingWarning], rows


@pytest.mark.parametrize(
    ("phase", "learning_rate", "message"),
    [
        (boltzmann.Persistent(100), 0.05, None),
        (boltzmann.Persistent(100), 5.0, "nats below that of independent units"),
        (
            boltzmann.ContrastiveDivergence(),
            5.0,
            "nats below that of step 500, although the reconstruction error, which",
        ),
    ],
    ids=["sound", "exploded", "contrastive"],
)
def test_machines_of_digits_ring_where_they_fail(phase, learning_rate, message, tmp_path):
    """With a large learning rate, CD-1 loses likelihood after step 500 while its reconstruction error falls."""
    messages, rows = train_machine(phase, learning_rate, steps=1_500, folder=tmp_path / "run")
    assert [row["step"] for row in rows] == [500, 1000, 1500]
    assert all(np.isfinite(row["validation/log_prob_estimate"]) for row in rows)
    if message is None:
        assert messages == []
    else:
        assert sum(message in text for text in messages) == 1, messages


@pytest.mark.parametrize(
    ("phase", "frozen"),
    [(boltzmann.Persistent(100), True), (boltzmann.ParallelTempering(100, 5), False)],
    ids=["persistent", "tempered"],
)
def test_chains_of_bars_and_stripes_freeze_unless_they_are_tempered(phase, frozen, tmp_path):
    """Weights this large may also lower the likelihood, with or without tempering, which is not tested here."""
    messages, rows = train_machine(phase, 0.5, steps=2_500, folder=tmp_path / "run", digits=False)
    pattern = (
        r"after step [12],[05]00 in one update, chains move by 0\.[0-9]+ % of the distance .* mix: use boltzmann.Para"
    )
    assert sum(re.match(pattern, text) is not None for text in messages) == frozen
    movements = [row["validation/chain_movement"] for row in rows]
    assert min(movements) < 0.01 if frozen else min(movements) > 0.05
    # Only the evaluation logs the exact likelihood, once per step.
    likelihoods = [row["step"] for row in read_rows(tmp_path / "run") if "validation/log_prob" in row]
    assert likelihoods == [500, 1000, 1500, 2000, 2500]


def test_every_model_of_the_contract_can_be_monitored():
    """Settings that families share by name, such as penalties, differ in kind."""
    count = 0
    for case in CASES:
        model = case.model()
        if can_monitor(model):
            batch = jax.tree.map(np.asarray, case.batch(jax.random.key(0)))
            TrainingMonitor(model, lambda finished, key, batch: batch, data.ArraySource(batch), prefix="train/")
            count += 1
    assert count > len(CASES) / 3
