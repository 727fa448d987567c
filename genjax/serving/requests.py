"""Requests as arrays, checked against the card of an export, so that no request reaches a program malformed.

The body of a request is a JSON object of the program's inputs by name, each one row or a list of rows; ``seed`` may
stand for keys, and ``num_samples`` for the number of rows. Or it is the data alone as ``.npy``, and the rest is in the
query of the URL.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

NPY = "application/x-npy"
MAX_SEED = 2**32 - 1


class BadRequest(ValueError):  # noqa: N818 - an answer to a request, not an error of the server
    """Raised for a request that no program can answer; the message is one line for its sender."""


def read_body(body: bytes, content_type: str, query: Mapping[str, str], inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a request by name, as numbers, lists or arrays."""
    fields: dict[str, Any] = {name: _parse_json(value, f"{name} in the URL") for name, value in query.items()}
    if content_type == NPY:
        data = next((entry["name"] for entry in inputs if entry["name"] != "key"), None)
        if data is None:
            raise BadRequest('this program takes no data; send JSON, such as {"num_samples": 4, "seed": 0}')
        return fields | {data: read_npy(body)}
    own = _parse_json(body or b"{}", "the body")
    if not isinstance(own, dict):
        raise BadRequest('the body must be a JSON object, such as {"seed": 0}')
    return fields | own


def _parse_json(text: str | bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise BadRequest(f"{name} is not JSON ({error})") from None


def read_npy(body: bytes) -> np.ndarray:
    """Return the array of an ``.npy`` file in memory, but never pickled objects or more numbers than it holds."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        if dtype.hasobject or min(shape, default=0) < 0:
            raise BadRequest("the body must hold numbers")
        array = np.frombuffer(body, dtype, offset=file.tell())
        return array.reshape(shape, order="F" if fortran_order else "C")
    except BadRequest:
        raise
    except Exception as error:  # damaged headers raise anything
        raise BadRequest(f"the body is no .npy array ({' '.join(str(error).split())[:200]})") from None


def read_rows(
    fields: dict[str, Any], inputs: list[dict[str, Any]], max_rows: int
) -> tuple[dict[str, np.ndarray], int, int]:
    """Return the inputs of a program, arrays (N, ...) by name, the number of rows N, and the seed of their keys."""
    fields = dict(fields)
    seed = _whole(fields.pop("seed"), "seed", 0, MAX_SEED) if "seed" in fields else int.from_bytes(os.urandom(4))
    entries = {entry["name"]: entry for entry in inputs}
    unknown = set(fields) - set(entries) - {"num_samples"}
    if unknown:
        raise BadRequest(f"{min(unknown)!r} is no input; send {', '.join([*entries, 'seed', 'num_samples'])}")
    counts = {}
    if "num_samples" in fields:
        counts["num_samples"] = _whole(fields.pop("num_samples"), "num_samples", 1, max_rows)
    arrays = {name: _array(value, entries[name]) for name, value in fields.items()}
    counts |= {name: len(array) for name, array in arrays.items() if array.ndim > len(entries[name]["shape"])}
    if len(set(counts.values())) > 1:
        raise BadRequest(f"the numbers of rows differ: {', '.join(f'{n} has {c}' for n, c in counts.items())}")
    count = next(iter(counts.values()), 1)
    if not 1 <= count <= max_rows:
        raise BadRequest(f"there are {count} rows, but a request has {'one' if max_rows == 1 else f'1 to {max_rows}'}")
    if "key" in entries and "key" not in arrays:  # row i of a seed has the key (seed, i)
        arrays["key"] = np.stack([np.full(count, seed, np.uint32), np.arange(count, dtype=np.uint32)], axis=1)
    for name, entry in entries.items():
        if name not in arrays and entry["null"] is None:
            raise BadRequest(f"{name!r} is missing: {entry['meaning']}, of shape {_shape(entry)} for each row")
        value = arrays[name] if name in arrays else np.asarray(entry["null"], entry["dtype"])
        arrays[name] = np.ascontiguousarray(np.broadcast_to(value, (count, *entry["shape"])))
    return arrays, count, seed


def _whole(value: Any, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise BadRequest(f"{name} must be a whole number from {low} to {high}")
    return value


def _array(value: Any, entry: Mapping[str, Any]) -> np.ndarray:
    """Return an input of one row or of several, in the dtype that the program takes."""
    name, dtype, shape = entry["name"], np.dtype(entry["dtype"]), tuple(entry["shape"])
    try:
        array = np.asarray(value)
    except ValueError:
        raise BadRequest(f"{name} has rows of different lengths; send numbers of shape {_shape(entry)} each") from None
    if entry["null"] is not None and len(shape) == 1 and array.ndim and array.shape[-1] < shape[0]:
        padding = np.full((*array.shape[:-1], shape[0] - array.shape[-1]), entry["null"])
        array = np.concatenate([array, padding], axis=-1)  # shorter prompts, in a type that holds both
    if shape not in (array.shape, array.shape[1:]):
        raise BadRequest(f"{name} has shape {array.shape}, but must be {_shape(entry)} for each row")
    is_whole = dtype.kind in "iub"
    if array.dtype.kind not in ("iub" if is_whole else "iubf"):
        raise BadRequest(f"{name} must hold {'whole ' if is_whole else ''}numbers")
    if not is_whole:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
        if not np.isfinite(array.astype(np.float32)).all():
            raise BadRequest(f"{name} has numbers that are not finite")
        return array
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if entry["num_values"] is not None:
        low, high = 0, entry["num_values"] - 1
    allowed = (array >= low) & (array <= high)
    if entry["null"] is not None:
        allowed |= array == entry["null"]
    if not allowed.all():
        raise BadRequest(f"{name} is {array[~allowed].flat[0]}, but must be from {low} to {high}")
    return array.astype(dtype)


def _shape(entry: Mapping[str, Any]) -> str:
    return str(tuple(entry["shape"]))


def to_json(name: str, outputs: np.ndarray, seed: int | None) -> bytes:
    """Return an answer as JSON, in which numbers that are not finite are null."""
    values: Any = outputs.tolist()
    if outputs.dtype.kind not in "iub":
        is_infinite = ~np.isfinite(outputs.astype(np.float32))
        if is_infinite.any():
            objects = outputs.astype(object)
            objects[is_infinite] = None
            values = objects.tolist()
    return json.dumps({name: values} | ({} if seed is None else {"seed": seed})).encode()


def to_npy(outputs: np.ndarray) -> bytes:
    """Return an answer as ``.npy``; bfloat16, which the format lacks, becomes float32."""
    file = io.BytesIO()
    np.save(file, outputs if outputs.dtype.kind in "iubf" else outputs.astype(np.float32), allow_pickle=False)
    return file.getvalue()
