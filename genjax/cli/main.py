"""The command line: ``genjax train | sample | evaluate | latent | list``, also as ``python -m genjax``.

The flags of ``train`` are the arguments of the file's ``experiment`` function, those of ``sample`` the keyword-only
arguments of that model's own ``sample``; both are read from the signature.

Exit status: 0 for success, 1 when a run failed, 2 for what was refused before anything compiled, 128 + n for signal n.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from genjax.cli.flags import flags_of_function, flags_of_sample, parse
from genjax.cli.options import EvaluateOptions, LatentOptions, ListOptions, SampleOptions, TrainOptions

USAGE = """usage: genjax COMMAND ...

  train FILE       train the experiment of a file:            genjax train experiments/vae_digits.py
  sample RUN       draw from a finished run:                  genjax sample runs/vae_digits/TIME -n 64
  evaluate RUN     score a finished run and its samples:      genjax evaluate runs/vae_digits/TIME --metrics all
  latent RUN       pictures of a finished run's codes:    genjax latent runs/vae_digits/TIME
  list             models, capabilities and experiments:      genjax list

'genjax COMMAND --help' shows the flags; after FILE or RUN also those of that experiment or model."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        sys.exit(_guarded(list(sys.argv[1:] if arguments is None else arguments)))


def _show_warning(message: Warning | str, *_: Any) -> None:
    """Print a warning as one line, without the place in our code that says nothing to the user."""
    print(f"genjax: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _guarded(arguments: list[str]) -> int:
    """Run a command; turn what it refuses or suffers into one line and an exit status."""
    from genjax.runner import CheckpointError, Interrupted, NonFiniteError

    try:
        return _command(arguments)
    except Interrupted as stop:
        print(f"genjax: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        print("genjax: interrupted", file=sys.stderr)
        return 130
    except (NonFiniteError, CheckpointError) as failure:
        return _fail(failure, 1)
    except (ValueError, FileNotFoundError, NotADirectoryError, ImportError) as refused:  # the last of extras
        return _fail(refused, 2)
    except OSError as failure:
        return _fail(failure, 1)


def _fail(error: Exception, status: int) -> int:
    if os.environ.get("GENJAX_TRACEBACK"):
        traceback.print_exception(error)
    print(f"genjax: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _command(arguments: list[str]) -> int:
    commands = {"train": _train, "sample": _sample, "evaluate": _evaluate, "latent": _latent, "list": _list}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from genjax import __version__

        print(__version__)
        return 0
    name, *rest = arguments
    if name not in commands:
        raise ValueError(f"unknown command {name!r}; use one of {', '.join(commands)}")
    return commands[name](rest)


def _train(arguments: list[str]) -> int:
    if not _positional(arguments, "train", "FILE", "a Python file that defines experiment()", TrainOptions):
        return 0
    from genjax.runner.folder import Source, default_path
    from genjax.runner.load import load_experiment_fn

    file, flags = Path(arguments[0]), arguments[1:]
    function = load_experiment_fn(file)
    program = f"genjax train {file}"
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions), TrainOptions)
    if options.distributed:
        import jax

        jax.distributed.initialize()
    if options.workdir is None:
        options.workdir = default_path(file.stem, resume=options.resume)
    if options.resume:
        hyper, options = _parse_resumed(program, flags, function, options.workdir)
    return _train_parsed(
        function,
        dataclasses.asdict(hyper),
        options,
        Source(name=file.stem, file=file, arguments=dataclasses.asdict(hyper), description=_claim(function)),
    )


def _parse_resumed(program: str, flags: list[str], function: Callable[..., Any], workdir: Path) -> tuple[Any, Any]:
    """Parse again with the run's own arguments as defaults, so that resuming needs no flags."""
    from genjax.runner.folder import RunFolder
    from genjax.runner.load import arguments_from_json

    holds = RunFolder(workdir).read_json("arguments.json")
    stored = arguments_from_json(function, holds["arguments"])
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions, stored), TrainOptions)
    flagged = {flag.split("=")[0] for flag in flags}
    return hyper, dataclasses.replace(
        options,
        workdir=workdir,
        seed=options.seed if "--seed" in flagged else holds["seed"],
        seeds=options.seeds if "--seeds" in flagged else holds["seeds"],
    )


def _train_parsed(function: Callable[..., Any], hyper: dict[str, Any], options: TrainOptions, source: Any) -> int:
    from genjax.runner import Experiment, train

    experiment = function(**hyper)
    if not isinstance(experiment, Experiment):
        raise ValueError(
            f"experiment() in {source.file} returned a {type(experiment).__name__}; it must return a genjax Experiment"
        )
    run = train(
        experiment,
        seed=options.seed,
        seeds=options.seeds,
        workdir=options.workdir,
        resume=options.resume,
        overwrite=options.overwrite,
        source=source,
    )
    print(f"wrote {run.folder}: see {run.folder}/report.md, and draw more with: genjax sample {run.folder} -n 64")
    return 0


def _sample(arguments: list[str]) -> int:
    if not _positional(arguments, "sample", "RUN", "a run folder that train wrote", SampleOptions):
        return 0
    import jax
    import numpy as np

    from genjax.runner.compilation import enable_compilation_cache
    from genjax.runner.load import load_experiment, load_run

    path, flags = Path(arguments[0]), arguments[1:]
    enable_compilation_cache()
    # The flags depend on the model, and the checkpoint on the flags: the experiment comes first, alone.
    experiment = load_experiment(path)
    options, extra = _parse_sample(path, flags, experiment)
    run = load_run(path, checkpoint=options.checkpoint, experiment=experiment)
    seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    with _progress_of(experiment, options.num_samples) as progress:
        x = run.sample(jax.random.key(seed), options.num_samples, replica=options.replica, **extra, **progress)
    out = options.out or path / "samples" / f"seed_{seed}{_sample_ending(experiment)}"
    _write_samples(np.asarray(x), experiment, out)
    print(f"wrote {out}: {options.num_samples} samples of step {run.step}, drawn with --seed {seed}")
    return 0


@contextlib.contextmanager
def _progress_of(experiment: Any, num_samples: int) -> Iterator[dict[str, Any]]:
    """Yield a callback for models that draw one token after the other: a single text as it grows, or a progress bar."""
    import jax

    from genjax.capabilities import stop_token
    from genjax.figures.texts import writer
    from genjax.metrics.progress import progress_bars

    model, tokenizer = experiment.model, experiment.data.tokenizer
    if "callback" not in inspect.signature(model.sample).parameters:
        yield {}
        return
    if tokenizer is not None and num_samples == 1:
        yield {"callback": writer(tokenizer, sys.stdout, stop_token(model))}
        jax.effects_barrier()
        print()
        return
    with progress_bars(unit="token") as progress:
        done = progress("samples", math.prod(experiment.data.spec()["x"].shape))
        yield {"callback": lambda number, tokens: done(1)}
        jax.effects_barrier()  # the last tokens may still be on their way


def _parse_sample(path: Path, flags: list[str], experiment: Any) -> tuple[SampleOptions, dict[str, Any]]:
    model_flags = flags_of_sample(experiment.model, experiment.preview_kwargs)
    extra, options = parse(f"genjax sample {path}", flags, model_flags, SampleOptions)
    if options.num_samples < 1:
        raise ValueError(f"num_samples is {options.num_samples}, but it must be at least 1")
    _check_out(options, experiment)
    extra = {name: value for name, value in dataclasses.asdict(extra).items() if value is not None}
    return options, extra | _prompt(experiment, options.prompt)


def _prompt(experiment: Any, prompt: str | None) -> dict[str, Any]:
    """Return the argument ``prompt`` of a model of texts, or nothing."""
    if prompt is None:
        return {}
    if experiment.data.tokenizer is None or "prompt" not in inspect.signature(experiment.model.sample).parameters:
        raise ValueError(
            f"--prompt is {prompt!r}, but {type(experiment.model).__name__} on {experiment.data.name!r} takes none; "
            "leave it out"
        )
    return {"prompt": experiment.data.tokenizer.encode(prompt)}


def _sample_ending(experiment: Any) -> str:
    """Of a picture, of texts, or of a folder of sounds."""
    data = experiment.data
    return ".txt" if data.tokenizer is not None else ".png" if data.sound is None else ""


def _check_out(options: SampleOptions, experiment: Any) -> None:
    sound = experiment.data.sound
    endings = [".txt"] if experiment.data.tokenizer is not None else [".png"]
    endings += [".npz", ".npy", *([] if sound is None else [sound.suffix, ""])]
    if options.out is None:
        return
    if options.out.suffix not in endings:
        told = [ending or "nothing, for a folder" for ending in endings]
        raise ValueError(f"--out is {options.out}, but it must end in {', '.join(told[:-1])} or {told[-1]}")
    if sound is not None and options.out.suffix == sound.suffix and options.num_samples > 1:
        raise ValueError(
            f"--out is {options.out}, but {options.num_samples} samples take a folder; leave {sound.suffix} out, or "
            "draw one by -n 1"
        )


def _write_samples(x: Any, experiment: Any, out: Path) -> None:
    import numpy as np

    from genjax.capabilities import stop_token
    from genjax.figures.audio import save_sounds
    from genjax.figures.images import sample_picture, save_picture
    from genjax.figures.texts import write_texts

    sound = experiment.data.sound
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".txt":
        write_texts(out, experiment.data.tokenizer, x, stop_token(experiment.model))
    elif out.suffix == ".npz":
        np.savez(out, x=x)
    elif out.suffix == ".npy":
        np.save(out, x)
    elif out.suffix == ".png":
        save_picture(out, sample_picture(experiment.shown(x)))
    elif out.suffix:
        sound.save(out, x[0])
    else:
        save_sounds(out, sound, x)


def _evaluate(arguments: list[str]) -> int:
    if not _positional(arguments, "evaluate", "RUN", "a run folder that train wrote", EvaluateOptions):
        return 0
    import json

    import jax

    from genjax.evaluation.registry import check_names
    from genjax.metrics import feature_network, table
    from genjax.metrics.progress import progress_bars
    from genjax.runner.compilation import enable_compilation_cache
    from genjax.runner.folder import RunFolder
    from genjax.runner.load import load_experiment, load_run

    path, flags = Path(arguments[0]), arguments[1:]
    enable_compilation_cache()
    experiment = load_experiment(path)
    # Samples are the model's own, not those that pictures show: their distribution is what is scored.
    model_flags = flags_of_sample(experiment.model, {})
    extra, options = parse(f"genjax evaluate {path}", flags, model_flags, EvaluateOptions)
    names = check_names(options.metrics)
    network = feature_network(options.features)
    run = load_run(path, checkpoint=options.checkpoint, experiment=experiment)
    with progress_bars() as progress:
        results = run.evaluate(
            jax.random.key(options.seed),
            metrics=names,
            split=options.split,
            num_samples=options.num_samples,
            network=network,
            num_neighbours=options.num_neighbours,
            likelihood_samples=options.likelihood_samples,
            batch_size=options.batch_size,
            progress=progress,
            **_changed(extra),
        )
    said = {"results": {name: result.as_dict() for name, result in results.items()}}
    said |= {"step": run.step, "checkpoint": options.checkpoint, "seed": options.seed}
    RunFolder(path).write_json("evaluation.json", said)
    print(json.dumps(said) if options.json else table(list(results.values())))
    print(f"wrote {path / 'evaluation.json'}", file=sys.stderr)
    return 0


def _changed(flags: Any) -> dict[str, Any]:
    """Return the flags that are not at their defaults."""
    values = {field.name: (getattr(flags, field.name), field.default) for field in dataclasses.fields(flags)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _latent(arguments: list[str]) -> int:
    if not _positional(arguments, "latent", "RUN", "a run folder that train wrote", LatentOptions):
        return 0
    import jax

    from genjax.figures.images import save_picture
    from genjax.figures.latents import latent_pictures
    from genjax.runner.load import load_run

    path = Path(arguments[0])
    (options,) = parse(f"genjax latent {path}", arguments[1:], LatentOptions)
    for name, limit in (("rows", 1), ("steps", 2)):
        if getattr(options, name) < limit:
            raise ValueError(f"{name} is {getattr(options, name)}, but it must be at least {limit}")
    run = load_run(path, checkpoint=options.checkpoint)
    key, out = jax.random.key(options.seed), options.out or path / "latent"
    pictures = latent_pictures(
        run, key, split=options.split, rows=options.rows, steps=options.steps, label=options.label
    )
    for name, pixels in pictures.items():
        save_picture(out / f"{name}.png", pixels)
    print(f"wrote {', '.join(f'{name}.png' for name in pictures)} in {out}")
    return 0


def _list(arguments: list[str]) -> int:
    import json

    from genjax.cli.models import catalogue

    (options,) = parse("genjax list", arguments, ListOptions)
    entries = catalogue(options.experiments)
    if options.json:
        print(json.dumps(entries))
        return 0
    for entry in entries:
        print(f"{entry['family']}.{entry['model']}  ({entry['file']})\n    {entry['summary']}")
        print(f"    can: {', '.join(entry['capabilities'])}")
        print(f"    experiments: {', '.join(entry['experiments']) or 'none here'}")
    return 0


def _positional(arguments: list[str], command: str, name: str, what: str, options: type) -> bool:
    """Whether the command's positional argument is there; shows the general help and returns False for --help."""
    if arguments and not arguments[0].startswith("-"):
        return True
    if arguments and arguments[0] in ("-h", "--help"):
        tyro.cli(
            options,
            prog=f"genjax {command} {name}",
            description=f"{name} is {what}; 'genjax {command} {name} --help' with a real {name} shows all its flags.",
            args=["--help"],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        return False
    raise ValueError(f"{name} is missing: it comes first and is {what}; see genjax {command} --help")


def _claim(function: Callable[..., Any]) -> str:
    """Return the docstring of the experiment's file, which states its claim."""
    return inspect.cleandoc(function.__globals__["__doc__"] or "")
