"""Any TensorFlow Datasets set by its name, read without TensorFlow from ArrayRecord files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.cache import cached, fingerprint
from genjax.data.corpora import windowed
from genjax.data.dataset import SPLITS, Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.images import check_image_settings, decode_image
from genjax.data.source import SMALL_BYTES, ArraySource, Record, RecordSource, Source, materialize, num_bytes
from genjax.data.splitting import last_slices, split_source
from genjax.data.tokenization import Choice, check_choice, readable
from genjax.data.tokenizers import Bytes


@opens_dataset
def tfds(
    name: str,
    *,
    validation: int = 0,
    data_dir: str | Path | None = None,
    size: tuple[int, int] | None = None,
    tokenizer: Choice = "bytes",
    num_tokens: int | None = None,
    length: int = 256,
    stride: int | None = None,
) -> Dataset:
    """Read a prepared TFDS set.

    The feature "image" becomes ``x``, uint8 (H, W, C), and the class "label" ``label``, int32. Where there is no image,
    the feature "text" becomes ``x`` (length,): splits of a single record are texts that are cut into windows of tokens,
    as by ``text``; otherwise each record is one example, its bytes cut or padded with zeros. Other features are left
    out. Images that take at most 512 MiB decoded are read into memory (and kept decoded in the user's cache folder);
    others are streamed.

    Args:
      name: as TFDS spells it: ``name``, ``name/config`` or ``name:version``.
      validation: number of examples, the last of train, that become the validation split; of a text that is cut into
        windows, number of characters (of bytes, where these are the tokens).
      data_dir: folder of prepared sets; None is ``$TFDS_DATA_DIR``, or else TFDS's own default.
      size: (H, W) of all images, see ``decode_image``; needed where a set's images differ in size.
      tokenizer: of a text, as in ``text``.
      num_tokens: as in ``text``.
      length: tokens in one example of text.
      stride: of the training windows of a text, as in ``text``.

    Raises:
      ValueError: when TFDS knows no such set, or it has neither image nor text.
      FileNotFoundError: when the set is not prepared here; the message is the command that prepares it.
    """
    check_choice(tokenizer, num_tokens)
    data_dir = os.environ.get("TFDS_DATA_DIR") if data_dir is None else str(data_dir)
    builder = _builder(name, data_dir)
    _check_prepared(name, builder, data_dir)
    features = builder.info.features
    if "image" in features:
        splits, codec = _image_splits(name, builder, size), None
    elif "text" in features:
        sources = {split: builder.as_data_source(split=split) for split in _known_splits(builder)}
        if len(sources["train"]) == 1:
            parts = {split: readable(records[0]["text"], tokenizer, name) for split, records in sources.items()}
            return windowed(name, _hold_out(name, parts, validation), tokenizer, num_tokens, length, stride)
        splits, codec = _text_splits(name, sources, tokenizer, length, _has_classes(builder)), Bytes()
    else:
        raise ValueError(
            f"{name!r} has features {sorted(features)}, neither 'image' nor 'text'; read it by "
            "tensorflow_datasets.data_source and wrap that in genjax.data.RecordSource"
        )
    splits = _hold_out(name, splits, validation)
    num_classes = features["label"].num_classes if "label" in splits["train"].spec else None
    return Dataset(name=name, splits=splits, levels=256, num_classes=num_classes, tokenizer=codec)


def tfds_names() -> list[str]:
    """Return the names of all sets that the installed TFDS can prepare."""
    import tensorflow_datasets

    return tensorflow_datasets.list_builders(with_community_datasets=False)


def base_name(name: str) -> str:
    """Return the part before configuration and version.

    >>> base_name("imagenet_resized/32x32:0.1.0")
    'imagenet_resized'
    """
    return re.split("[/:]", name, maxsplit=1)[0]


def near_names(name: str, names: list[str]) -> str:
    """Return "; did you mean ...?" with up to three nearest names, or nothing."""
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
        raise ValueError(f"TFDS knows no set {name!r}{near_names(base, tfds_names())}") from None


def _check_prepared(name: str, builder: Any, data_dir: str | None) -> None:
    if builder.info.splits and builder.info.file_format.value == "array_record":
        return
    folder, argument, after = data_dir, "" if data_dir is None else f", data_dir='{data_dir}'", ""
    found = "is not prepared" + ("" if folder is None else f" in {folder}")
    if builder.info.splits:  # TFDS takes it for prepared whatever its format, so that it needs another folder
        folder = f"{Path(builder.data_path).parents[len(builder.info.full_name.split('/')) - 1]}_array_record"
        argument, after = f", data_dir='{folder}'", f" and read it with data_dir='{folder}'"
        found = f"is prepared as {builder.info.file_format.value}, which only TensorFlow reads"
    command = f"tfds.builder('{name}'{argument}, file_format='array_record').download_and_prepare()"
    raise FileNotFoundError(
        f'{name!r} {found}; prepare it by: pip install "genjax-models[tfds]" && '
        f'python -c "import tensorflow_datasets as tfds; {command}"{after}'
    )


def _known_splits(builder: Any) -> list[str]:
    found = [split for split in SPLITS if split in builder.info.splits]
    if "train" not in found:
        raise ValueError(f"{builder.name!r} has splits {sorted(builder.info.splits)}, but no 'train' to learn from")
    return found


def _image_splits(name: str, builder: Any, size: tuple[int, int] | None) -> dict[str, Source]:
    from tensorflow_datasets.core.decode import SkipDecoding

    feature = builder.info.features["image"]
    channels = feature.shape[-1]
    if feature.np_dtype != np.uint8:  # feature.dtype would import TensorFlow
        raise ValueError(f"images of {name!r} are {np.dtype(feature.np_dtype)}, but only uint8 images are read here")
    check_image_settings(channels, size)
    if size is None and None in feature.shape:
        raise ValueError(f"images of {name!r} differ in size; give size=(height, width)")
    transform = _image_transform(channels, size, _has_classes(builder))
    splits = {}
    for split in _known_splits(builder):
        records = builder.as_data_source(split=split, decoders={"image": SkipDecoding()})
        source = RecordSource(records, transform)
        if num_bytes(source) <= SMALL_BYTES:
            source = _materialize_cached(builder, split, size, source)
        splits[split] = source
    return splits


def _image_transform(channels: int, size: tuple[int, int] | None, labelled: bool) -> Callable[[Record], Record]:
    def transform(record: Record) -> Record:
        x = decode_image(record["image"], channels=channels, size=size)
        return {"x": x, "label": np.int32(record["label"])} if labelled else {"x": x}

    return transform


def _materialize_cached(builder: Any, split: str, size: tuple[int, int] | None, source: RecordSource) -> ArraySource:
    files = [Path(part.filename) for part in builder.info.splits[split].file_instructions]
    resized = "" if size is None else f"-{size[0]}x{size[1]}"
    key = f"{builder.info.full_name}-{split}{resized}-{fingerprint(files)}"
    return cached(key, lambda: materialize(source))


def _text_splits(
    name: str, sources: Mapping[str, Any], tokenizer: Choice, length: int, labelled: bool
) -> dict[str, Source]:
    if tokenizer not in ("bytes", Bytes()):
        raise ValueError(f"tokenizer is {tokenizer!r}, but the records of {name!r} are read as bytes; leave it out")
    if length < 1:
        raise ValueError(f"length is {length}, but an example holds at least 1 byte")

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
    """Make the last examples of train, or characters of a text, the validation split."""
    if not validation:
        return splits
    if "validation" in splits:
        raise ValueError(f"{name!r} has a validation split of its own; leave validation={validation} out")
    train = splits["train"]
    if isinstance(train, bytes | str):
        held_out = {split: train[part] for split, part in last_slices(len(train), validation, 0).items()}
    else:
        held_out = split_source(train, validation, 0)
    return splits | held_out
