"""Data sets, shuffling, streaming and preprocessing.

A data set consists of named splits of examples. A batch is a dict of arrays: ``x`` is the data, ``label`` its class,
``y`` an image that ``x`` is generated from, ``prompt`` a text that describes ``x``.
Every random choice comes from a key, so that training can be repeated and resumed at any step.

A function that opens a data set raises FileNotFoundError for a path that does not exist, and ValueError for content or
settings that do not fit, with what to do instead.

>>> import jax, numpy as np
>>> train = digits().splits["train"]
>>> batch = train.take(shuffle_indices(jax.random.key(0), np.arange(128), len(train)))
>>> batch["x"].shape, batch["x"].dtype, batch["label"].shape
((128, 8, 8, 1), dtype('uint8'), (128,))
"""

from genjax.data import synthetic as synthetic
from genjax.data.anomalies import anomalies as anomalies
from genjax.data.arrays import arrays as arrays
from genjax.data.arrays import npy as npy
from genjax.data.arrays import npz as npz
from genjax.data.audio import clips as clips
from genjax.data.audio import wav as wav
from genjax.data.bars_and_stripes import bars_and_stripes as bars_and_stripes
from genjax.data.bpe import BPE as BPE
from genjax.data.bundled import bundled as bundled
from genjax.data.bundled import digits as digits
from genjax.data.captions import captioned as captioned
from genjax.data.captions import digit_pairs as digit_pairs
from genjax.data.chorales import chorales as chorales
from genjax.data.corpora import stdlib as stdlib
from genjax.data.corpora import text as text
from genjax.data.dataset import Dataset as Dataset
from genjax.data.images import image_folder as image_folder
from genjax.data.io import available_from as available_from
from genjax.data.lines import end_of_line as end_of_line
from genjax.data.lines import lines as lines
from genjax.data.loading import load as load
from genjax.data.loading import names as names
from genjax.data.pairs import paired as paired
from genjax.data.pairs import unpaired as unpaired
from genjax.data.shuffling import random_examples as random_examples
from genjax.data.shuffling import shuffle_indices as shuffle_indices
from genjax.data.sounds import Sound as Sound
from genjax.data.sounds import Voices as Voices
from genjax.data.sounds import Waveform as Waveform
from genjax.data.source import ArraySource as ArraySource
from genjax.data.source import RecordSource as RecordSource
from genjax.data.source import Source as Source
from genjax.data.source import UnpairedSource as UnpairedSource
from genjax.data.source import batches as batches
from genjax.data.source import materialize as materialize
from genjax.data.stacking import stack as stack
from genjax.data.streaming import stream as stream
from genjax.data.tfds_sets import tfds as tfds
from genjax.data.tokenizers import Bytes as Bytes
from genjax.data.tokenizers import Characters as Characters
from genjax.data.tokenizers import Tokenizer as Tokenizer
from genjax.data.tokenizers import Words as Words
from genjax.data.tokenizers import decode_texts as decode_texts
from genjax.data.transforms import chain as chain
from genjax.data.transforms import dequantize as dequantize
from genjax.data.transforms import dynamic_binarization as dynamic_binarization
from genjax.data.transforms import gaussian_noise as gaussian_noise
from genjax.data.transforms import quantize as quantize
from genjax.data.transforms import scale as scale
from genjax.data.transforms import static_binarization as static_binarization
from genjax.data.transforms import unchanged as unchanged
