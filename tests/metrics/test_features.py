"""Feature networks: extraction in batches, and the classifier's training, cache and hash."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.metrics import features
from genjax.metrics.features import FeatureNetwork, Outputs, Recipe, classifier, extract, feature_network, pixels
from genjax.metrics.features.classifier import neighbourhoods


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home / "genjax"


RECIPE = Recipe(seed=0, steps=150, widths=(8, 16), num_features=16)


@pytest.fixture(scope="module")
def trained(cache):
    return classifier(data.digits(), RECIPE)


def test_classifier_learns_and_is_kept(trained, cache, capsys):
    assert trained.name == "classifier-digits"
    assert trained.accuracy > 0.6  # ten classes; a small part of the full training
    (file,) = cache.glob("classifier-digits-*.npz")
    again = classifier(data.digits(), RECIPE)
    assert "training" not in capsys.readouterr().err
    assert (again.hash, again.accuracy) == (trained.hash, trained.accuracy)
    file.write_bytes(file.read_bytes()[:1000])
    remade = classifier(data.digits(), RECIPE)
    assert "training classifier-digits" in capsys.readouterr().err
    assert remade.hash == trained.hash


def test_hash_and_cache_tell_recipes_and_data_apart(trained, cache):
    other_seed = classifier(data.digits(), Recipe(seed=1, steps=1, widths=(8, 16), num_features=16))
    x = np.asarray(data.digits().splits["train"].take(np.arange(200))["x"])
    label = np.asarray(data.digits().splits["train"].take(np.arange(200))["label"])
    some = data.Dataset(
        name="digits", splits={"train": data.ArraySource({"x": x, "label": label})}, levels=17, num_classes=10
    )
    other_data = classifier(some, RECIPE)
    assert len({trained.hash, other_seed.hash, other_data.hash}) == 3
    assert len(list(cache.glob("classifier-digits-*.npz"))) == 3


def test_an_entry_of_other_weights_is_made_again(cache):
    recipe = Recipe(seed=2, steps=2, widths=(), num_features=4)
    first = classifier(data.digits(), recipe)
    (file,) = cache.glob("classifier-digits-seed2-*.npz")
    with np.load(file) as cached:
        arrays = dict(cached)
    name = next(name for name, array in arrays.items() if array.ndim == 2)
    for change in ({name: arrays[name][:-1]}, {}):  # a wrong shape, and no weights
        np.savez(file, **({} if not change else arrays | change))
        assert classifier(data.digits(), recipe).hash == first.hash


def test_accuracy_is_of_held_out_examples_or_unknown(cache):
    whole = data.digits().splits
    recipe = Recipe(seed=0, steps=2, widths=(), num_features=4)

    def accuracy(*splits):
        dataset = data.Dataset(name="some", splits={s: whole[s] for s in splits}, levels=17, num_classes=10)
        return classifier(dataset, recipe).accuracy

    assert accuracy("train") is None
    on_validation, on_test = accuracy("train", "validation"), accuracy("train", "validation", "test")
    assert on_validation * len(whole["validation"]) == pytest.approx(round(on_validation * len(whole["validation"])))
    assert on_test == classifier(data.digits(), recipe).accuracy  # equal training data and recipe, equal weights


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 7, 9, 3), (1, 1, 2, 2)])
def test_a_dense_layer_on_neighbourhoods_is_a_strided_convolution(shape):
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=size).astype(np.float32) for size in (shape, (3, 3, shape[-1], 5)))
    convolved = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    np.testing.assert_allclose(neighbourhoods(jnp.asarray(x)) @ kernel.reshape(-1, 5), convolved, atol=1e-5)


def test_images_are_standardized_by_the_training_split(cache):
    """The same images in other units, 0 … 16 of 17 levels and 100 … 116 of 217, train the same classifier."""

    def shifted(offset, levels):
        splits = {
            name: data.ArraySource({"x": source.take(np.arange(len(source)))["x"] + np.uint8(offset), "label": label})
            for name, source in data.digits().splits.items()
            for label in [source.take(np.arange(len(source)))["label"]]
        }
        return data.Dataset(name="shifted", splits=splits, levels=levels, num_classes=10)

    recipe = Recipe(seed=0, steps=20, widths=(8,), num_features=8)
    plain, offset = classifier(shifted(0, 17), recipe), classifier(shifted(100, 217), recipe)
    images = data.digits().splits["test"].take(np.arange(20))["x"].astype(np.float32)
    a, b = extract(plain, [images / 16], 20).features, extract(offset, [(images + 100) / 216], 20).features
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert plain.hash != offset.hash


def test_accuracy_is_that_of_its_own_logits(trained):
    test = data.digits().splits["test"].take(np.arange(len(data.digits().splits["test"])))
    outputs = extract(trained, [test["x"] / np.float32(16)], len(test["x"]))
    assert outputs.features.shape == (len(test["x"]), 16)
    assert outputs.logits is not None
    np.testing.assert_allclose(np.mean(outputs.logits.argmax(axis=1) == test["label"]), trained.accuracy, atol=1e-6)


def test_features_do_not_depend_on_the_batches(trained):
    images = np.random.default_rng(0).integers(0, 17, size=(11, 8, 8, 1), dtype=np.uint8)  # digits have 17 levels
    whole = extract(trained, [images], 11)
    parts = extract(trained, [images[:4] / np.float32(16), images[4:8], images[8:]], 11)
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-5)
    np.testing.assert_allclose(whole.logits, parts.logits, atol=1e-5)


def test_integers_of_any_type_have_the_same_features(trained):
    images = np.random.default_rng(0).integers(0, 17, size=(5, 8, 8, 1), dtype=np.uint8)
    for network in (trained, pixels()):
        first, second = (extract(network, [images.astype(dtype)], 5).features for dtype in ("uint8", "int32"))
        np.testing.assert_array_equal(first, second)


def test_pixels_are_the_data_whatever_its_kind():
    x = np.random.default_rng(0).normal(size=(5, 2, 3)) * 10
    outputs = extract(pixels(), [x[:2], x[2:]], 5)
    np.testing.assert_allclose(outputs.features, x.reshape(5, 6), rtol=1e-6)
    assert outputs.logits is None


def test_images_that_do_not_fit_are_refused(trained):
    with pytest.raises(ValueError, match=r"images have shape \(28, 28, 1\), but classifier-digits takes \(8, 8, 1\)"):
        extract(trained, [np.zeros((2, 28, 28, 1))], 2)
    with pytest.raises(ValueError, match=r"images have values in \[-1, 0\], but the network takes \[0, 1\], or bytes"):
        extract(trained, [np.array([-1.0, 0.0]).reshape(2, 1, 1, 1) * np.ones((2, 8, 8, 1))], 2)
    with pytest.raises(ValueError, match=r"images have shape \(2, 64\), but the network takes \(B, H, W, C\)"):
        extract(trained, [np.zeros((2, 64))], 2)
    with pytest.raises(ValueError, match="3 samples exceed a buffer of capacity=2"):
        extract(pixels(), [np.zeros((3, 2))], 2)
    with pytest.raises(ValueError, match="there are no batches; give at least one"):
        extract(pixels(), [], 2)


def test_recipes_that_train_nothing_are_refused():
    for name, value in {"steps": 0, "batch_size": 0, "num_features": 0, "learning_rate": 0.0, "widths": (8, 0)}.items():
        with pytest.raises(ValueError, match=f"^Recipe: {name} "):
            Recipe(seed=0, **{name: value})


def tones(name="tones", encoding="float", length=256):
    """Waveforms of low and of high pitch, of any loudness, at 2 kHz."""
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    frequency = np.where(label == 1, 700, 150) + rng.uniform(-30, 30, 120)
    wave = np.sin(2 * np.pi * frequency[:, None] * np.arange(length) / 2_000) * 10 ** rng.uniform(-3, 0, (120, 1))
    sound = data.Waveform(2_000, encoding)
    x = sound.encode(wave + 1e-5 * rng.normal(size=wave.shape))
    splits = {"train": slice(0, 80), "test": slice(80, 120)}
    sources = {split: data.ArraySource({"x": x[part], "label": label[part]}) for split, part in splits.items()}
    return data.Dataset(name=name, splits=sources, levels=sound.levels, num_classes=2, sound=sound)


def test_sounds_are_classified_whatever_their_loudness(cache, monkeypatch):
    recipe = Recipe(seed=0, steps=40, batch_size=16, widths=(4,), num_features=8)
    network = classifier(tones(), recipe)
    assert network.accuracy == 1.0
    assert not network.requires_images
    x = tones().splits["test"].take(np.arange(40))["x"]
    loud, soft = (extract(network, [scale * x], 40).logits for scale in (1.0, 0.25))
    np.testing.assert_allclose(loud, soft, atol=1e-3)
    again = classifier(tones(), recipe)  # from the cache
    assert (again.hash, again.accuracy) == (network.hash, network.accuracy)
    with pytest.raises(ValueError, match=r"waveforms have shape \(100,\), but classifier-tones takes \(256,\)"):
        extract(network, [x[:, :100]], 40)
    with pytest.raises(ValueError, match='or waveforms with encoding="float"'):
        classifier(tones(encoding="mu_law"), recipe)
    monkeypatch.setattr(features, "classifier", lambda dataset, recipe: (dataset.name, recipe))
    assert feature_network("classifier", tones()) == ("tones", Recipe(seed=0))


def test_data_without_labels_trains_no_classifier(cache):
    unlabelled = data.arrays(np.zeros((20, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match="has no labels, but a classifier needs them; use features=pixels"):
        classifier(unlabelled, RECIPE)
    one_class = data.arrays(np.zeros((20, 4, 4, 1), np.uint8), label=np.zeros(20, int))
    with pytest.raises(ValueError, match="has num_classes=1, but a classifier needs at least 2"):
        classifier(one_class, RECIPE)
    with pytest.raises(ValueError, match=r"takes images \(H, W, C\) of integers"):
        classifier(data.bundled("iris"), RECIPE)


@pytest.mark.parametrize("spec", ["", "fid", "classifier", "pixels:mnist", "inception:"])
def test_unknown_networks_are_refused(spec):
    with pytest.raises(ValueError, match="but must be pixels, ngrams for texts, classifier:DATASET such as"):
        feature_network(spec)


def test_weights_are_arguments_not_constants():
    """One compiled program serves two sets of weights."""
    traces = []

    def apply(variables, x):
        traces.append(1)
        return Outputs(x.reshape(x.shape[0], -1) * variables, None)

    for weight in (1.0, 2.0):
        network = FeatureNetwork(name="scaled", hash=None, variables=jnp.float32(weight), apply=apply)
        np.testing.assert_array_equal(extract(network, [np.ones((3, 1, 1, 1))], 3).features, weight)
    assert len(traces) <= 2  # once for the shapes, once for the program


def test_one_program_serves_batches_of_all_sizes():
    traces = []

    def apply(variables, x):
        traces.append(1)
        return Outputs(x.reshape(x.shape[0], -1), None)

    network = FeatureNetwork(name="traced", hash=None, variables=None, apply=apply)
    x = np.random.default_rng(0).random((9, 2, 1, 1), np.float32)
    rows = extract(network, [x[:4], x[4:7], x[7:7], x[7:8], x[8:]], 9).features
    np.testing.assert_array_equal(rows, x.reshape(9, 2))
    assert len(traces) <= 2


@pytest.mark.slow
def test_published_recipe_reads_mnist(cache):
    try:
        mnist = data.tfds("mnist")
    except FileNotFoundError as absent:
        pytest.skip(f"needs prepared MNIST: {absent}")
    assert classifier(mnist, Recipe(seed=0)).accuracy > 0.985
