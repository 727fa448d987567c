"""An experiment that cannot run raises an error that says how to correct it."""

import dataclasses

import numpy as np
import optax
import pytest

from genjax import autoregressive, capabilities, data, nets, ops, vae
from genjax.core import Variables
from genjax.runner import Experiment


class Model:
    def init(self, key, batch):
        raise NotImplementedError

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        raise NotImplementedError


def make(**changes):
    x = np.zeros((20, 4, 4, 1), np.uint8)
    fields = {"model": Model(), "data": data.arrays(x, name="zeros"), "optimizer": optax.sgd(1.0), "steps": 1000}
    return Experiment(**{**fields, "batch_size": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 21}, r"batch_size is 21, .* 'zeros' has 20 examples; use a batch_size of at most 20"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"steps": None}, "steps is missing"),
        ({"optimizer": None}, "needs exactly one of optimizer, learner and stages, but has none"),
        ({"evaluate_every": 250}, r"evaluate_every is 250, .* multiple of log_every=100.*; use 300"),
        ({"schedule": ("critic",)}, r"schedule names 'critic', but the model's objectives are \[\]"),
        ({"ema_decay": 1.0}, r"ema_decay is 1.0, but must be in \[0, 1\); use None for no average"),
        ({"optimizer": {"loss": optax.sgd(1.0)}}, r"optimizers are given for \['loss'\]"),
    ],
)
def test_refused_with_value_limit_and_cure(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_labels_that_the_model_does_not_have_are_refused():
    class Classes(Model):
        conditions = capabilities.label_condition(3)

    labels = np.arange(20) % 4
    with pytest.raises(ValueError, match=r"num_classes=3, but labels of 'four' are 0 to 3; use num_classes=4"):
        make(model=Classes(), data=data.arrays(np.zeros((20, 2)), label=labels, name="four"))
    make(model=Classes(), data=data.arrays(np.zeros((20, 2)), label=labels % 3, name="three"))


class Translator(Model):
    conditions = (capabilities.Condition(name="y", kind="image", shape=(None, None, 1)),)


class UnpairedTranslator(Model):
    conditions = (capabilities.Condition(name="y", kind="image", shape=(None, None, 1), paired=False),)


PHOTOS = np.zeros((20, 4, 4, 1), np.uint8)
SCALED = {"preprocess": data.chain(data.scale(), data.scale(entry="y"))}


def test_a_model_of_pairs_refuses_unpaired_sets():
    pairs, sets = data.paired(PHOTOS, PHOTOS), data.unpaired(PHOTOS, PHOTOS, name="sets")
    with pytest.raises(
        ValueError, match=r"Translator learns x given 'y', but .* of 'sets' are unpaired; use data.pair"
    ):
        make(model=Translator(), data=sets, **SCALED)
    make(model=Translator(), data=pairs, **SCALED)
    for dataset in (pairs, sets):
        make(model=UnpairedTranslator(), data=dataset, **SCALED)
    make(data=sets)  # a model of x alone


def test_images_that_a_model_is_conditioned_on_must_be_scaled_and_have_its_shape():
    pairs = data.paired(PHOTOS, PHOTOS)
    with pytest.raises(ValueError, match=r"takes 'y' in \[0, 1\], but it is uint8; use .*data.scale\(entry='y'\)\)"):
        make(model=Translator(), data=pairs, preprocess=data.scale())
    rgb = data.paired(PHOTOS, np.repeat(PHOTOS, 3, axis=-1))
    with pytest.raises(ValueError, match=r"'y' of shape \(None, None, 1\), but it has shape \(4, 4, 3\); None is any"):
        make(model=Translator(), data=rgb, **SCALED)


IMAGES = data.arrays(np.full((20, 4, 4, 1), 255, np.uint8), name="images")
MADE = autoregressive.MADE(shape=(4, 4, 1), num_values=17, features=(4,))


def vae_of(likelihood):
    decoder = nets.MLP((16 * likelihood.num_outputs,), output_shape=(4, 4, likelihood.num_outputs))
    return vae.VAE(latent_dim=2, encoder=nets.MLP((4,)), decoder=decoder, likelihood=likelihood)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preprocess": data.scale(levels=17)},
            r"scale\(levels=17, low=0.0, high=1.0\) takes 17 values from 0 to 16, but x has 256 values from 0 to 255; "
            "use levels=256",
        ),
        ({"preprocess": data.chain(data.dequantize(levels=17), data.unchanged)}, "use levels=256"),
        (
            {"preprocess": data.chain(data.scale(), data.dynamic_binarization())},
            "takes 256 .* from 0 to 1; leave it out",
        ),
        (
            {"data": data.arrays(np.full((20, 3), 99)), "preprocess": data.scale(levels=17)},
            "numbers from 99 to 99; leave",
        ),
        ({"model": MADE}, "num_values=17, but x has 256 values from 0 to 255; use num_values=256"),
        ({"model": MADE, "data": data.arrays(np.full((20, 3), 17.0))}, "num_values=17, but .* 17; use num_values=18"),
        (
            {"model": MADE, "preprocess": data.scale()},
            r"integers 0 … 16, but scale\(.*\) makes real numbers; leave it out",
        ),
        ({"model": MADE, "preprocess": data.dequantize()}, r"integers 0 … 16, but dequantize\(.*\) makes real numbers"),
        (
            {"model": vae_of(ops.Bernoulli())},
            r"for x in \[0, 1\], but .* 0 to 255; use preprocess=data.scale\(levels=256\)",
        ),
        ({"model": vae_of(ops.Bernoulli()), "preprocess": data.scale(low=-1.0)}, "256 values from -1 to 1; use"),
        (
            {"model": vae_of(ops.Bernoulli()), "data": data.arrays(np.linspace(0, 9, 60).reshape(20, 3))},
            "but x has numbers from 0 to 9; use scaled data",
        ),
        (
            {"model": vae_of(ops.DiscretizedLogistic(17)), "preprocess": data.scale()},
            r"DiscretizedLogistic\(levels=17\) is for data with its levels, but x has 256 .*; use levels=256",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused_before_training(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**{"data": IMAGES, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocess": data.scale(low=-1.0)},
        {"preprocess": lambda key, batch: batch, "model": MADE},  # a function of one's own may do anything
        {"preprocess": data.chain(lambda key, batch: batch, data.scale(17)), "model": vae_of(ops.Bernoulli())},
        {"preprocess": data.dynamic_binarization(), "model": MADE},
        {"preprocess": data.scale(), "model": vae_of(ops.DiscretizedLogistic())},
        {"preprocess": data.dequantize(low=-1.0), "model": vae_of(ops.Gaussian())},
        {"data": data.arrays(np.arange(20.0)[:, None] % 2), "model": MADE},
    ],
)
def test_values_that_fit_are_taken(changes):
    make(**{"data": IMAGES, **changes})


def test_variables_of_several_replicas_are_made_for_each_of_its_own():
    means = make(variables=lambda finished: Variables({"mean": finished["model"].params["w"].mean(keepdims=True)}, {}))
    several = means.model_variables({"model": Variables({"w": np.arange(6.0).reshape(2, 3)}, {})}, 2)
    np.testing.assert_array_equal(several.params["mean"], [[1.0], [4.0]])
    single = means.model_variables({"model": Variables({"w": np.arange(3.0)}, {})})
    np.testing.assert_array_equal(single.params["mean"], [1.0])


def test_intervals_default_to_tenths_in_whole_dispatches():
    experiment = make(log_every=30)
    assert experiment.interval("evaluate_every", 1000) == 90
    assert experiment.interval("evaluate_every", 10) == 30
    assert dataclasses.replace(experiment, evaluate_every=60).interval("evaluate_every", 1000) == 60


@pytest.mark.parametrize(
    ("changes", "samples", "shown"),
    [
        ({"preprocess": data.scale(low=-1.0)}, [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        ({"data": data.digits()}, [0, 8, 16], [0.0, 0.5, 1.0]),  # integers, as a PixelCNN draws them
        ({"data": data.digits(), "preprocess": data.dynamic_binarization(17)}, [0, 1, 1], [0.0, 1.0, 1.0]),
        ({"data": data.arrays(np.linspace(-1, 1, 20).reshape(20, 1, 1, 1))}, [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        ({"data": data.arrays(np.linspace(0.2, 0.9, 20).reshape(20, 1, 1, 1))}, [0.2, 0.5, 0.9], [0.2, 0.5, 0.9]),
        ({"preprocess": data.scale(low=-1.0), "display": lambda x: x + 1}, [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]),
    ],
)
def test_pictures_know_the_range_of_the_data(changes, samples, shown):
    experiment = make(**{"data": IMAGES, **changes})
    for dtype in {np.asarray(samples).dtype, np.dtype(np.float32)}:
        x = np.reshape(samples, (3, 1, 1, 1)).astype(dtype)
        np.testing.assert_allclose(experiment.to_display(x).ravel(), shown, rtol=1e-6)


def test_pictures_of_an_unknown_range_warn_where_much_is_clipped():
    experiment = make(data=IMAGES, preprocess=lambda key, batch: batch)
    with pytest.warns(
        UserWarning, match=r"more than 25% of the pixels are outside \[0, 1\] and clipped .*; set display"
    ):
        experiment.to_display(np.full((2, 3, 3, 1), -0.5))
    experiment.to_display(np.full((2, 3, 3, 1), 0.5))  # warns of nothing
