"""The command ``compile``: what an experiment costs on chips that are not there."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genjax.cli.flags import flags_of_function, parse
from genjax.cli.options import CompileOptions
from genjax.runner.shell import genjax_command
from genjax.sharding import parse_mesh

if TYPE_CHECKING:
    from genjax.experiment import Experiment
    from genjax.runner.ahead import Program, Target


def compile_path(path: Path, flags: list[str]) -> int:
    """Compile the experiment of a file or of a run, and print what each of its programs costs."""
    import jax

    jax.config.update("jax_platforms", "cpu")  # no accelerator is claimed, even where there is one
    from genjax.runner.ahead import compile_ahead, find_target

    experiment, options = _parsed(path, flags)
    if options.accumulate is not None:
        experiment = dataclasses.replace(experiment, accumulate=options.accumulate)
    experiment = experiment.with_computation(options.dtype, options.remat)
    target = find_target(options.platform, options.topology)
    where = (
        f"{len(target.devices)} chips of {options.topology}" if target.chip else f"{len(target.devices)} CPU devices"
    )

    def announce(name: str) -> None:
        print(f"{path}: compiling {name} for {where}", file=sys.stderr)

    mesh = None if options.mesh is None else parse_mesh(options.mesh)
    programs = []
    for program in compile_ahead(experiment, target, mesh=mesh, announce=announce):
        programs.append(program)
        if not options.json:
            print(describe(program, target), flush=True)
    if options.json:
        settings = {"platform": options.platform, "topology": options.topology, "mesh": options.mesh}
        print(json.dumps({"path": str(path), **settings, "programs": [_to_json(program) for program in programs]}))
    return 0


def _parsed(path: Path, flags: list[str]) -> tuple[Experiment, CompileOptions]:
    """Return the experiment of a run folder, or that of a file with the flags of its function, and the options."""
    from genjax.runner import load_experiment_fn
    from genjax.runner.load import load_experiment

    program = genjax_command("compile", path)
    if path.is_dir():
        (options,) = parse(program, flags, CompileOptions)
        return load_experiment(path), options
    function = load_experiment_fn(path)
    hyper, options = parse(program, flags, flags_of_function(function, CompileOptions), CompileOptions)
    return function(**vars(hyper)), options


def describe(program: Program, target: Target) -> str:
    """Return what a program costs one chip, in lines."""
    title = f"{program.name}  (compiled in {program.compile_seconds:.1f} s)"
    if program.error is not None:
        return f"{title}\n    does not fit: {program.error}"
    memory = (
        f"arguments {_amount(program.argument_bytes)}B, output {_amount(program.output_bytes)}B, temporaries "
        f"{_amount(program.temporary_bytes)}B"
    )
    if target.chip is not None:
        share = f"{_amount(program.total_bytes)}B of {_amount(target.chip.memory)}B"
        memory = f"{memory}; {share}: {'fits' if program.fits else 'does not fit'}"
    sizes = [f"{of.count} {kind} of {_amount(of.bytes)}B in all" for kind, of in program.collectives.items()]
    lines = {
        "memory": memory,
        "work": f"{_amount(program.flops)}FLOP of products, {_amount(program.bytes_moved)}B moved",
        "collectives": ", ".join(sizes) or "none",
    }
    if program.least_seconds is not None:
        lines["time"] = f"at least {program.least_seconds * 1e3:.3g} ms, bound by {program.bound}"
    return "\n".join([title, *(f"    {name + ':':<13}{text}" for name, text in lines.items())])


def _amount(value: float) -> str:
    """Return a number with three digits and a prefix of a unit, such as ``1.5 G``."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def _to_json(program: Program) -> Mapping[str, Any]:
    kinds = {kind: of._asdict() for kind, of in program.collectives.items()}
    return dataclasses.asdict(program) | {"collectives": kinds, "total_bytes": program.total_bytes}
