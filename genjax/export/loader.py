"""Load the programs of an exported model, which ``card.json`` describes; ``requirements.txt`` is all that this needs.

keys = numpy.array([[0, seed] for seed in range(4)], numpy.uint32)  # jax.random.key_data of jax.random.key(seed)
x = load("the folder")["sample"](key=keys)  # one sample for each key, (4, ...)
"""

import hashlib
import json
from pathlib import Path

import jax
import jax.export
import numpy as np

CODES = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint", "BOOL": "bool"}


def load(folder=Path(__file__).parent, jit=jax.jit):
    """Return the programs of a folder by name, functions of arrays (b, ...) by keyword; every file is checked."""
    try:
        card = json.loads(_read(Path(folder) / "card.json"))
    except json.JSONDecodeError:
        raise ValueError(f"{folder}/card.json is damaged; export the run again") from None
    files = {name: _read(Path(folder) / name, digest) for name, digest in card["files"].items()}
    tensors = {name: jax.device_put(array) for name, array in _tensors(files["weights.safetensors"])}
    return {name: _program(entry, files[entry["file"]], tensors, jit) for name, entry in card["programs"].items()}


def _program(entry, content, tensors, jit):
    call, weights = jit(jax.export.deserialize(content).call), {name: tensors[name] for name in entry["weights"]}
    return lambda **inputs: call(weights, *[np.asarray(inputs[i["name"]], i["dtype"]) for i in entry["inputs"]])


def _read(file, digest=None):
    content = file.read_bytes() if file.is_file() else None
    if content is None or digest not in (None, hashlib.sha256(content).hexdigest()):
        raise ValueError(f"{file} is {'missing' if content is None else 'damaged'}; export the run again")
    return content


def _tensors(content):
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            code, (begin, end) = entry["dtype"], entry["data_offsets"]
            dtype = np.dtype(CODES[code.rstrip("0123456789")] + code.lstrip("BFIUOL"))
            yield name, np.frombuffer(content[start + begin : start + end], dtype).reshape(entry["shape"])
