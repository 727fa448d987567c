"""TensorFlow Datasets (TFDS), read from ArrayRecord files without TensorFlow."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.arguments import NonNegativeInt, PositiveInt
from genjax.data.cache import cache_arrays, fingerprint
from genjax.data.corpora import window_dataset
from genjax.data.dataset import SPLITS, Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.images import ImageSize, decode_image
from genjax.data.source import SMALL_BYTES, ArraySource, Record, RecordSource, Source, materialize, num_bytes
from genjax.data.splitting import split_last, split_last_slices, split_source
from genjax.data.tokenization import TokenizerChoice, check_tokenizer, decode_text
from genjax.data.tokenizers import Bytes


@opens_dataset
def tfds(
    name: str,
    *,
    validation: NonNegativeInt = 0,
    data_dir: str | Path | None = None,
    size: ImageSize | None = None,
    tokenizer: TokenizerChoice = "bytes",
    num_tokens: PositiveInt | None = None,
    length: PositiveInt = 256,
    stride: PositiveInt | None = None,
) -> Dataset:
    """Read a prepared TFDS set.

    The feature "image" becomes ``x``, uint8 (H, W, C), the class "label" becomes ``label``, int32. Without an image,
    the feature "text" becomes ``x`` (length,). A split with a single record is a text, which is cut into windows of
    tokens as by ``text``; otherwise each record is an example, its bytes truncated or padded with zeros. Other features
    are dropped. Images that take at most 512 MiB decoded are read into memory, and cached decoded in the user's cache
    folder; larger sets are streamed.

    Args:
      name: name in TFDS: ``name``, ``name/config`` or ``name:version``.
      validation: number of examples at the end of train that become the validation split; for a text that is cut into
        windows, number of characters (of bytes if ``tokenizer`` is "bytes").
      data_dir: folder of prepared sets; None for ``$TFDS_DATA_DIR``, or else the default of TFDS.
      size: (H, W) of all images, see ``decode_image``; required if the images differ in size.
      tokenizer: tokenizer of a text, as in ``text``.
      num_tokens: as in ``text``.
      length: tokens per example of text.
      stride: stride of the training windows of a text, as in ``text``.

    Raises:
      ValueError: if TFDS knows no such set, or it has neither images nor text.
      FileNotFoundError: if the set is not prepared; the message contains the command that prepares it.
    """
    check_tokenizer(tokenizer, num_tokens)
    data_dir = os.environ.get("TFDS_DATA_DIR") if data_dir is None else str(data_dir)
    builder = _builder(name, data_dir)
    _check_prepared(name, builder, data_dir)
    features = builder.info.features
    if "image" in features:
        splits, codec = _image_splits(name, builder, size), None
    elif "text" in features:
        sources = {split: builder.as_data_source(split=split) for split in _known_splits(builder)}
        if len(sources["train"]) == 1:
            parts = {split: decode_text(records[0]["text"], tokenizer, name) for split, records in sources.items()}
            return window_dataset(name, _hold_out(name, parts, validation), tokenizer, num_tokens, length, stride)
        splits, codec = _text_splits(name, sources, tokenizer, length, _has_classes(builder)), Bytes()
    else:
        raise ValueError(
            f"{name!r} has features {sorted(features)}, but needs 'image' or 'text'; read it with "
            "tensorflow_datasets.data_source and wrap the result in genjax.data.RecordSource"
        )
    splits = _hold_out(name, splits, validation)
    classes = tuple(features["label"].names) if "label" in splits["train"].spec else None
    return Dataset(name=name, splits=splits, levels=256, class_names=classes, tokenizer=codec)


def tfds_names() -> list[str]:
    """Return the names of all sets that the installed version of TFDS can prepare."""
    import tensorflow_datasets

    return tensorflow_datasets.list_builders(with_community_datasets=False)


def base_name(name: str) -> str:
    """Return the name without configuration and version.

    >>> base_name("imagenet_resized/32x32:0.1.0")
    'imagenet_resized'
    """
    return re.split("[/:]", name, maxsplit=1)[0]


def suggest_names(name: str, names: list[str]) -> str:
    """Return "; did you mean ...?" with up to three similar names, or an empty string."""
    near = difflib.get_close_matches(name, names, 3, 0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets

    try:
        return tensorflow_datasets.builder(name, data_dir=data_dir)
    except Exception as error:  # TFDS raises ValueError, AssertionError and others
        base = base_name(name)
        if base in tfds_names():
            raise ValueError(f"TFDS cannot open {name!r}: {str(error).splitlines()[0]}") from None
        raise ValueError(f"TFDS knows no set {name!r}{suggest_names(base, tfds_names())}") from None


def _check_prepared(name: str, builder: Any, data_dir: str | None) -> None:
    if builder.info.splits and builder.info.file_format.value == "array_record":
        return
    folder, argument, after = data_dir, "" if data_dir is None else f", data_dir='{data_dir}'", ""
    problem = "is not prepared" + ("" if folder is None else f" in {folder}")
    if builder.info.splits:  # TFDS considers it prepared in any format, so another format needs another folder
        folder = f"{Path(builder.data_path).parents[len(builder.info.full_name.split('/')) - 1]}_array_record"
        argument, after = f", data_dir='{folder}'", f" and read it with data_dir='{folder}'"
        problem = f"is prepared as {builder.info.file_format.value}, which only TensorFlow reads"
    command = f"tfds.builder('{name}'{argument}, file_format='array_record').download_and_prepare()"
    raise FileNotFoundError(
        f'{name!r} {problem}; prepare it by: pip install "genjax-models[tfds]" && '
        f'python -c "import tensorflow_datasets as tfds; {command}"{after}'
    )


def _known_splits(builder: Any) -> list[str]:
    splits = [split for split in SPLITS if split in builder.info.splits]
    if "train" not in splits:
        raise ValueError(f"{builder.name!r} has splits {sorted(builder.info.splits)}, but needs 'train'")
    return splits


def _image_splits(name: str, builder: Any, size: ImageSize | None) -> dict[str, Source]:
    from tensorflow_datasets.core.decode import SkipDecoding

    feature = builder.info.features["image"]
    channels = feature.shape[-1]
    if feature.np_dtype != np.uint8:  # feature.dtype would import TensorFlow
        raise ValueError(f"images of {name!r} are {np.dtype(feature.np_dtype)}, but must be uint8")
    if size is None and None in feature.shape:
        raise ValueError(f"images of {name!r} differ in size; use size=(height, width)")
    labelled = _has_classes(builder)

    def transform(record: Record) -> Record:
        x = decode_image(record["image"], channels=channels, size=size)
        return {"x": x, "label": np.int32(record["label"])} if labelled else {"x": x}

    splits = {}
    for split in _known_splits(builder):
        records = builder.as_data_source(split=split, decoders={"image": SkipDecoding()})
        source = RecordSource(records, transform)
        if num_bytes(source) <= SMALL_BYTES:
            source = _materialize_cached(builder, split, size, source)
        splits[split] = source
    return splits


def _materialize_cached(builder: Any, split: str, size: ImageSize | None, source: RecordSource) -> ArraySource:
    files = [Path(part.filename) for part in builder.info.splits[split].file_instructions]
    resized = "" if size is None else f"-{size[0]}x{size[1]}"
    key = f"{builder.info.full_name}-{split}{resized}-{fingerprint(files)}"
    return cache_arrays(key, lambda: materialize(source).arrays, ArraySource)


def _text_splits(
    name: str, sources: Mapping[str, Any], tokenizer: TokenizerChoice, length: int, labelled: bool
) -> dict[str, Source]:
    if tokenizer not in ("bytes", Bytes()):
        raise ValueError(f"tokenizer is {tokenizer!r}, but must be 'bytes' for the records of {name!r}; leave it out")

    def transform(record: Record) -> Record:
        codes = np.frombuffer(record["text"][:length], np.uint8)
        x = np.pad(codes, (0, length - len(codes)))
        return {"x": x, "label": np.int32(record["label"])} if labelled else {"x": x}

    records = {split: RecordSource(source, transform) for split, source in sources.items()}
    return {split: materialize(r) if num_bytes(r) <= SMALL_BYTES else r for split, r in records.items()}


def _has_classes(builder: Any) -> bool:
    features = builder.info.features
    return "label" in features and getattr(features["label"], "num_classes", None) is not None


def _hold_out(name: str, splits: dict[str, Any], validation: int) -> dict[str, Any]:
    """Move the last examples of train, or characters of a text, to a validation split."""
    if not validation:
        return splits
    if "validation" in splits:
        raise ValueError(f"{name!r} already has a validation split; leave validation={validation} out")
    train = splits["train"]
    if isinstance(train, bytes | str):
        held_out = {split: train[part] for split, part in split_last_slices(len(train), validation, 0).items()}
    else:
        held_out = split_source(train, split_last(len(train), validation, 0))
    return splits | held_out
