"""Entrants: which models suit which data, what they see, and splits that the data lack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.racing import entrants


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_models_of_all_methods_take_the_data(name):
    dataset = entrants.split(data.load(name))
    methods = entrants.entrants(dataset)
    assert ("made" in methods) == (name == "digits")
    assert len(methods) >= 7
    for method in methods:
        experiment = entrants.experiment(method, name)
        raw = experiment.data.splits["train"].take(np.arange(8))
        batch = experiment.preprocess(jax.random.key(0), jax.tree.map(jnp.asarray, raw))
        params = jax.eval_shape(lambda key, e=experiment, b=batch: e.model.init(key, b).params, jax.random.key(0))
        assert jax.tree.leaves(params), method
        shown = experiment.to_display(batch["x"])
        expected = raw["x"] / 16 if name == "digits" else raw["x"]
        np.testing.assert_allclose(shown, expected, atol=1e-5, err_msg=method)


def test_real_numbers_are_standardized_and_come_back():
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32) * [1.0, 10.0, 0.0] + [5.0, 0.0, 2.0]
    dataset = entrants.split(data.arrays(x.astype(np.float32)))
    data_view, train = entrants.view(dataset), dataset.splits["train"]
    x = train.take(np.arange(len(train)))["x"]
    batch = data_view.preprocess(jax.random.key(0), {"x": jnp.asarray(x)})
    np.testing.assert_allclose(batch["x"].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(batch["x"].std(axis=0), [1, 1, 0], atol=1e-4)
    np.testing.assert_allclose(data_view.display(batch["x"]), x, rtol=1e-4, atol=1e-4)
    assert (data_view.scale, data_view.bounded, data_view.levels) == (1.0, False, None)


def test_scale_of_whole_numbers_is_that_of_what_models_see():
    dataset = entrants.split(data.digits())
    data_view = entrants.view(dataset)
    x = dataset.splits["train"].take(np.arange(1_000))
    scale = float(jnp.std(data_view.preprocess(jax.random.key(0), jax.tree.map(jnp.asarray, x))["x"]))
    assert data_view.scale == pytest.approx(scale, rel=0.02)


def test_missing_splits_are_a_tenth_of_the_training_data_evenly_spaced():
    x = np.arange(100, dtype=np.float32)[:, None]
    sizes = {name: len(source) for name, source in entrants.split(data.arrays(x)).splits.items()}
    assert sizes == {"train": 80, "validation": 10, "test": 10}
    with_test = entrants.split(data.arrays(x, test=20))
    assert {name: len(source) for name, source in with_test.splits.items()} == {
        "train": 72,
        "validation": 8,
        "test": 20,
    }
    assert np.ptp(with_test.splits["validation"].take(np.arange(8))["x"]) > 60
    whole = data.arrays(x, validation=10, test=10)
    assert {name: len(source) for name, source in entrants.split(whole).splits.items()} == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


def test_data_that_cannot_race_are_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("ab" * 200)
    letters = data.text(tmp_path / "letters.txt", length=4, tokenizer="characters")
    with pytest.raises(ValueError, match="letters holds texts, but the models of a race need vectors or images"):
        entrants.view(letters)
    random = np.random.default_rng(0)
    for x, message in (
        (np.zeros((120, 40, 40, 3), np.uint8), "photos have 4800 elements, but dense networks take at most 4096"),
        (random.normal(size=(12, 2)), r"split 'validation' of photos has 1 examples, but a race needs 10"),
        (random.normal(size=200), r"examples of photos are single numbers; give them a dimension, x\[:, None\]"),
        (np.full((200, 8, 8), 3, np.uint8), "all numbers of photos are 3; check the file"),
    ):
        with pytest.raises(ValueError, match=message):
            entrants.view(entrants.split(data.arrays(x, name="photos")))
    column = entrants.split(data.arrays(random.normal(size=(200, 1))))
    assert "real_nvp" not in entrants.entrants(column)
    with pytest.raises(ValueError, match="method is 'made', but iris supports vae, gan"):
        entrants.experiment("made", "iris")


def test_minibatches_of_small_data_can_be_shared_by_devices():
    assert entrants.experiment("vae", "iris").batch_size == 64
    assert entrants.experiment("vae", "digits").batch_size == 128


def test_made_races_where_a_classifier_sees_images():
    assert "made" in entrants.entrants(entrants.split(data.digits()))
    x = np.random.default_rng(0).integers(0, 256, (200, 4, 4), dtype=np.uint8)
    assert "made" not in entrants.entrants(entrants.split(data.arrays(x)))


def test_integers_without_levels_are_spread_and_come_back():
    dataset = entrants.split(data.arrays(np.random.default_rng(0).integers(-3, 40, (400, 3))))
    data_view, train = entrants.view(dataset), dataset.splits["train"]
    x = train.take(np.arange(len(train)))["x"]
    seen_by_models = data_view.preprocess(jax.random.key(0), {"x": jnp.asarray(x)})["x"]
    assert len(np.unique(seen_by_models)) > 900
    np.testing.assert_allclose(seen_by_models.mean(axis=0), 0, atol=0.01)
    np.testing.assert_array_equal(data_view.display(seen_by_models), x)
