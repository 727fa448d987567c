"""The export folder: programs, weights and a card that describes them.

card.json            what the programs take and return, versions, and the SHA-256 of the other files
weights.safetensors  weights that the programs share, by path, such as "params/decoder/Dense_0/kernel"
<program>.stablehlo  one program, serialized by ``jax.export``
load.py              a short script that checks and loads all this
requirements.txt     what load.py needs: jax, and flatbuffers, in which ``jax.export`` stores programs
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.capabilities import stop_token
from genjax.core import Array, Variables
from genjax.data.io import replace_file
from genjax.export import loader
from genjax.export.programs import PROGRAMS, Program, ProgramName, available_programs, make_program
from genjax.ops import leaves_by_path
from genjax.runner.run import Run

Platform = Literal["cpu", "cuda", "tpu", "rocm"]
CARD, WEIGHTS, LOADER, REQUIREMENTS = "card.json", "weights.safetensors", "load.py", "requirements.txt"
SUFFIX = ".stablehlo"
FORMAT = 1
_PACKAGES = ("genjax-models", "jax", "jaxlib")


@check_arguments
def export_run(
    run: Run,
    out: Path,
    *,
    what: tuple[ProgramName, ...] = (),
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "tpu"),
    batch_size: PositiveInt | None = None,
    replica: NonNegativeInt = 0,
    prompt_length: NonNegativeInt = 0,
    likelihood_samples: PositiveInt = 1_000,
    num_new: PositiveInt = 16,
    sample_kwargs: Mapping[str, Any] | None = None,
) -> tuple[ProgramName, ...]:
    """Export methods of a run's model to a folder, and return their names; nothing is compiled.

    Args:
      run: finished run.
      out: folder to write, which is made.
      what: names of the methods; () for all that the model has.
      platforms: platforms that the programs can run on.
      batch_size: number of rows that the programs take; None for any number.
      replica: index of the replica, for a run of several seeds.
      prompt_length: number of tokens of the prompt of ``sample``, padded with -1; 0 for no prompt.
      likelihood_samples: number of draws of an estimated likelihood.
      num_new: number of tokens that one call of ``extend`` draws, and that the server streams at once.
      sample_kwargs: fixed arguments of ``sample``.

    Raises:
      ValueError: if the model does not have a method, or JAX cannot export it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / CARD).is_file():
        raise ValueError(f"{out} is not empty and holds no export; choose another folder")
    variables, model = run.replica(replica), run.model
    settings: dict[str, Any] = {"prompt_length": prompt_length, "likelihood_samples": likelihood_samples}
    settings |= {"num_new": num_new}
    chosen: Sequence[ProgramName] = what or available_programs(model)
    names = tuple(sorted(set(chosen), key=PROGRAMS.index))
    programs = [
        make_program(name, run.experiment, variables, sample_kwargs=sample_kwargs, **settings) for name in names
    ]
    weights = leaves_by_path(variables)
    exports = {program.name: _export(program, variables, platforms, batch_size) for program in programs}
    used = sorted({name for _, names_used in exports.values() for name in names_used})
    files = {f"{name}{SUFFIX}": content for name, (content, _) in exports.items()}
    files |= {WEIGHTS: _safetensors({name: np.asarray(weights[name]) for name in used})}
    files |= {LOADER: Path(loader.__file__).read_bytes()}
    files |= {REQUIREMENTS: f"jax>={metadata.version('jax')}\nflatbuffers\n".encode()}
    card = {
        "format": FORMAT,
        "model": type(model).__name__,
        "data": run.experiment.data.name,
        "class_names": run.experiment.data.class_names,
        "run": None if run.folder is None else run.folder.name,
        "seed": run.seeds[replica],
        "step": run.step,
        "batch_size": batch_size or "any",
        "stop_token": stop_token(model),
        "platforms": platforms,
        "programs": {program.name: _entry(program, exports[program.name][1]) for program in programs},
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    (out / CARD).unlink(missing_ok=True)  # no card describes a mixture of two exports
    for stale in out.glob(f"*{SUFFIX}"):
        stale.unlink()
    for name, content in files.items():
        replace_file(out / name, content)
    replace_file(out / CARD, (json.dumps(card, indent=2, default=str) + "\n").encode())
    return names


def _entry(program: Program, weights: Sequence[str]) -> dict[str, Any]:
    """Return the description of a program in the card."""
    return {
        "file": f"{program.name}{SUFFIX}",
        "inputs": [dataclasses.asdict(entry) for entry in program.inputs],
        "output": dataclasses.asdict(program.output),
        "settings": dict(program.settings),
        "weights": list(weights),
    }


def _export(
    program: Program, variables: Variables, platforms: Sequence[str], batch_size: int | None
) -> tuple[bytes, list[str]]:
    """Return a serialized program and the names of the weights that it uses, which are its first argument."""
    structure = jax.tree.structure(variables)
    specs = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in leaves_by_path(variables).items()}

    def inputs(rows: Any) -> list[jax.ShapeDtypeStruct]:
        return [jax.ShapeDtypeStruct((rows, *entry.shape), jnp.dtype(entry.dtype)) for entry in program.inputs]

    def call(weights: dict[str, Array], *inputs: Array) -> Array:
        leaves = [
            weights[name] if name in weights else jnp.zeros(spec.shape, spec.dtype) for name, spec in specs.items()
        ]
        return program(jax.tree.unflatten(structure, leaves), *inputs)

    # JAX finds unused weights in programs of a fixed size alone.
    kept = _exported(program, call, platforms[:1], 2, specs, inputs(2)).module_kept_var_idx
    used = [name for index, name in enumerate(sorted(specs)) if index in kept]  # JAX sorts the keys of a dict
    rows = batch_size or jax.export.symbolic_shape("b")[0]
    exported = _exported(program, call, platforms, batch_size, {name: specs[name] for name in used}, inputs(rows))
    return _serialized(exported), used


def _serialized(exported: jax.export.Exported) -> bytes:
    try:
        return bytes(exported.serialize())
    except ImportError:
        raise ImportError('exported programs need flatbuffers; pip install "genjax-models[export]"') from None


def _exported(
    program: Program, call: Any, platforms: Sequence[str], batch_size: int | None, weights: Any, inputs: Any
) -> jax.export.Exported:
    try:
        with jax.debug_key_reuse(False):  # its checker takes keys under vmap for reused ones
            return jax.export.export(jax.jit(call), platforms=platforms)(weights, *inputs)
    except Exception as error:  # tracing, shapes and lowering have no common exception
        reason = " ".join(str(error).split())[:300]
        cure = "leave it out" if batch_size else "choose a batch_size, such as 32, which may help"
        rows = "" if batch_size else " for any number of rows"
        raise ValueError(f"{program.name} cannot be exported{rows} ({reason}); {cure}") from error


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save(arrays)
