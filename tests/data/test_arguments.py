"""Wrong arguments of the functions and classes of ``genjax.data`` are refused by name before anything is read."""

import jax
import numpy as np
import pytest

from genjax import data
from genjax.arguments import ArgumentError
from genjax.data import synthetic

SOURCE = data.ArraySource({"x": np.zeros((4, 2), np.float32)})
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.text("a.txt", length=2.5), "text: length is 2.5, but must be a whole number"),
        (lambda: data.text(None), "text: path is None, but must be a str or a Path"),
        (lambda: data.lines("a.txt", validation=float("nan")), "lines: validation is nan, but must be a"),
        (lambda: data.stdlib(stride=0), "stdlib: stride is 0, but must be at least 1"),
        (lambda: data.load(3), "load: name_or_path is 3, but must be a str or a Path"),
        (lambda: data.load("digits2", length="x"), "no data set or file 'digits2'"),
        (lambda: data.arrays(np.zeros(3), levels="256"), "arrays: levels is '256', but must be a whole number"),
        (lambda: data.npz("a.npz", x=None), "npz: x is None, but must be a str"),
        (
            lambda: data.image_folder(".", size=28),
            "image_folder: size is 28, but must be a tuple, such as .28,. or None",
        ),
        (lambda: data.image_folder(".", size=(28, 0)), "image_folder: size is .* at least 1, and 0 is not"),
        (lambda: data.wav("a.wav", length=None), "wav: length is None, but must be a whole number"),
        (lambda: data.clips("a.npz", sample_rate=0, length=1), "clips: sample_rate is 0, but must be at least 1"),
        (lambda: data.chorales("a.json", num_voices=1.5), "chorales: num_voices is 1.5, but must be a whole number"),
        (lambda: data.tfds("mnist", validation=0.1), "tfds: validation is 0.1, but must be a whole number"),
        (lambda: data.bars_and_stripes("4"), "bars_and_stripes: size is '4', but must be a whole number"),
        (lambda: data.stack(data.digits(), 0, num_channels=2), "stack: key is 0, but must be a typed key"),
        (lambda: data.stack(SOURCE, KEY, num_channels=2), "stack: dataset is .*, but must be a Dataset"),
        (lambda: data.anomalies(np.zeros((2, 2)), [0, 1], test=-1), "anomalies: test is -1, but must be at least 0"),
        (lambda: data.scale(levels=2.5), "scale: levels is 2.5, but must be a whole number"),
        (lambda: data.scale(low=float("inf")), "scale: low is inf, but must be a finite number"),
        (lambda: data.scale(low=1.0), "low and high are 1.0, but must differ"),
        (lambda: data.dequantize(high="1"), "dequantize: high is '1', but must be a number"),
        (lambda: data.chain(data.scale(), None), "transforms is .* a function, and None is not"),
        (lambda: data.gaussian_noise(None), "gaussian_noise: scale is None, but must be a number"),
        (lambda: data.Dataset(name="a", splits=None), "Dataset: splits is None, but must be a Mapping"),
        (lambda: data.Dataset(name=1, splits={"train": SOURCE}), "Dataset: name is 1, but must be a str"),
        (
            lambda: data.Dataset(name="a", splits={"train": np.zeros(3)}),
            "Dataset: splits is .* a Source: any object with take, spec and resident, and",
        ),
        (lambda: data.Dataset(name="a", splits={"train": SOURCE}, num_classes=0), "num_classes is 0, but must be at"),
        (lambda: data.ArraySource(np.zeros(3)), "ArraySource: arrays is .*, but must be a Mapping"),
        (lambda: data.RecordSource([], transform=1), "RecordSource: transform is 1, but must be a function or None"),
        (lambda: data.batches(SOURCE, 0), "batches: size is 0, but must be at least 1"),
        (lambda: data.stream(SOURCE, KEY, batch_size=2.0), "stream: batch_size is 2.0, but must be a whole number"),
        (lambda: data.stream(SOURCE, KEY, batch_size=2, shard=(0, 0)), "stream: shard is .* at least 1, and 0 is not"),
        (lambda: data.shuffle_indices(KEY, np.arange(3), 2.5), "shuffle_indices: size is 2.5"),
        (lambda: data.Waveform("8000"), "Waveform: sample_rate is '8000', but must be a whole number"),
        (lambda: data.Voices(0, 60, 2), "Voices: num_voices is 0, but must be at least 1"),
        (lambda: data.Characters(None), "Characters: vocabulary is None, but must be a str"),
        (lambda: data.Characters("ab").encode(b"ab"), "Characters.encode: text is b'ab', but must be a str"),
        (lambda: data.BPE.train("abab", num_tokens=256.5), "train: num_tokens is 256.5, but must be a whole number"),
        (lambda: data.end_of_line(None), "end_of_line: dataset is None, but must be a Dataset"),
        (lambda: synthetic.GaussianGrid(size=2.5), "GaussianGrid: size is 2.5, but must be a whole number"),
        (lambda: synthetic.Circles(radii=(1.0, -1.0)), "Circles: radii is .* above 0, and -1.0 is not"),
        (lambda: synthetic.dataset(None, KEY), "dataset: density is None, but must be a Density"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises((ArgumentError, ValueError), match=message):
        make()
