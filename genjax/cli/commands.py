"""The commands; each takes the arguments after its name and returns the exit status.

The flags of ``train`` are the arguments of the file's ``experiment`` function, those of ``sample`` the keyword-only
arguments of that model's own ``sample`` and the conditions that it declares.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from genjax.capabilities import stop_token
from genjax.cli.conditions import check_required, read_conditions
from genjax.cli.flags import flags_of_function, flags_of_sample, parse
from genjax.cli.options import EvaluateOptions, LatentOptions, ListOptions, SampleOptions, TrainOptions
from genjax.ops import check_at_least

if TYPE_CHECKING:
    from genjax.experiment import Experiment
    from genjax.runner.folder import RunFolder


def train(arguments: list[str]) -> int:
    """Train the experiment of a file."""
    file, flags = _positional(arguments, "train", "FILE", "a Python file that defines experiment()", TrainOptions)
    from genjax.data.deferred import record_datasets
    from genjax.experiment import Experiment
    from genjax.runner import load_experiment_fn
    from genjax.runner import train as train_experiment
    from genjax.runner.folder import ExperimentSource, default_folder, newest_path
    from genjax.runner.modules import modules_beside
    from genjax.runner.stored_arguments import check_storable

    function = load_experiment_fn(file)
    program = f"genjax train {file}"
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions), TrainOptions)
    if options.distributed:
        import jax

        jax.distributed.initialize()
        if options.workdir is None and jax.process_count() > 1:
            raise ValueError("--workdir is missing, but all processes need the same run folder; pass one")
    if options.resume:
        options.workdir = options.workdir or newest_path(file.stem)
        hyper, options = _parse_resumed(program, flags, function, options.workdir)
    hyper_parameters = dict(vars(hyper))  # asdict would take dataclasses among the arguments apart
    check_storable(function, hyper_parameters)
    with record_datasets() as datasets:
        experiment = function(**hyper_parameters)
    if not isinstance(experiment, Experiment):
        raise ValueError(
            f"experiment() in {file} returned a {type(experiment).__name__}, but must return a genjax Experiment"
        )
    with contextlib.ExitStack() as stack:
        run = train_experiment(
            experiment,
            seed=options.seed,
            seeds=options.seeds,
            workdir=options.workdir or stack.enter_context(default_folder(file.stem)),
            resume=options.resume,
            overwrite=options.overwrite,
            source=ExperimentSource(
                name=file.stem,
                file=file,
                modules=modules_beside(file),
                arguments=hyper_parameters,
                description=inspect.cleandoc(function.__globals__["__doc__"] or ""),
                datasets=datasets,
            ),
        )
    print(f"wrote {run.folder}: see {run.folder}/report.md, and draw more with: genjax sample {run.folder} -n 64")
    return 0


def _parse_resumed(program: str, flags: list[str], function: Callable[..., Any], workdir: Path) -> tuple[Any, Any]:
    """Parse again with the run's own arguments as defaults, so that resuming needs no flags."""
    from genjax.runner.folder import RunFolder
    from genjax.runner.stored_arguments import arguments_from_json

    stored = RunFolder(workdir).read_json("arguments.json")
    defaults = arguments_from_json(function, stored["arguments"])
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions, defaults), TrainOptions)
    flagged = {flag.split("=")[0] for flag in flags}
    return hyper, dataclasses.replace(
        options,
        workdir=workdir,
        seed=options.seed if "--seed" in flagged else stored["seed"],
        seeds=options.seeds if "--seeds" in flagged else stored["seeds"],
    )


def sample(arguments: list[str]) -> int:
    """Draw samples from a finished run, without opening its data."""
    path, flags = _positional(arguments, "sample", "RUN", "a run folder that train wrote", SampleOptions)
    import jax
    import numpy as np

    from genjax.runner.compilation import enable_compilation_cache
    from genjax.runner.load import load_experiment, load_run

    enable_compilation_cache()
    # The flags depend on the model, and the checkpoint on the flags, so the experiment is loaded first.
    experiment = load_experiment(path, defer_data=True)
    options, sample_kwargs = _parse_sample(path, flags, experiment)
    run = load_run(path, checkpoint=options.checkpoint, experiment=experiment)
    seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    with _sampling_progress(experiment, options.num_samples) as callback:
        key = jax.random.key(seed)
        x = run.sample(key, options.num_samples, replica=options.replica, **sample_kwargs, **callback)
    out = options.out or path / "samples" / f"seed_{seed}{_sample_suffix(experiment)}"
    _write_samples(np.asarray(x), experiment, out)
    print(f"wrote {out}: {options.num_samples} samples of step {run.step}, drawn with --seed {seed}")
    return 0


def _parse_sample(path: Path, flags: list[str], experiment: Experiment) -> tuple[SampleOptions, dict[str, Any]]:
    model, dataset = experiment.model, experiment.data
    model_flags = flags_of_sample(model, dataset, experiment.preview_kwargs)
    parsed, options = parse(f"genjax sample {path}", flags, model_flags, SampleOptions)
    check_at_least("num_samples", options.num_samples, 1)
    _check_out(options, experiment)
    values = {name: value for name, value in dataclasses.asdict(parsed).items() if value is not None}
    check_required(values, model)
    return options, values | read_conditions(values, model, dataset, options.num_samples)


@contextlib.contextmanager
def _sampling_progress(experiment: Experiment, num_samples: int) -> Iterator[dict[str, Any]]:
    """Yield ``sample``'s callback for models that draw token by token: it streams a single text, or advances a bar."""
    import jax

    from genjax.figures.texts import stream_text
    from genjax.metrics.progress import progress_bars

    model, tokenizer = experiment.model, experiment.data.tokenizer
    if "callback" not in inspect.signature(model.sample).parameters:
        yield {}
        return
    if tokenizer is not None and num_samples == 1:
        yield {"callback": stream_text(tokenizer, sys.stdout, stop_token(model))}
        jax.effects_barrier()
        print()
        return
    with progress_bars(unit="token") as progress:
        advance = progress("samples", math.prod(experiment.data.spec()["x"].shape))
        yield {"callback": lambda number, tokens: advance(1)}
        jax.effects_barrier()  # waits for the callbacks of the last tokens


def _sample_suffix(experiment: Experiment) -> str:
    """Return the suffix of a text, a picture, or a folder of sounds."""
    if experiment.data.tokenizer is not None:
        return ".txt"
    return ".png" if experiment.data.sound is None else ""


def _check_out(options: SampleOptions, experiment: Experiment) -> None:
    if options.out is None:
        return
    sound = experiment.data.sound
    suffixes = [".txt" if experiment.data.tokenizer is not None else ".png", ".npz", ".npy"]
    suffixes += [] if sound is None else [sound.suffix, ""]
    if options.out.suffix not in suffixes:
        *names, last = [suffix or "nothing, for a folder" for suffix in suffixes]
        raise ValueError(f"--out is {options.out}, but must end in {', '.join(names)} or {last}")
    if sound is not None and options.out.suffix == sound.suffix and options.num_samples > 1:
        raise ValueError(
            f"--out is {options.out}, but {options.num_samples} samples take a folder; leave {sound.suffix} out, or "
            "draw one sample with -n 1"
        )


def _write_samples(x: Any, experiment: Experiment, out: Path) -> None:
    import numpy as np

    from genjax.figures.audio import save_sounds
    from genjax.figures.images import sample_picture, save_picture
    from genjax.figures.texts import save_texts

    sound, tokenizer = experiment.data.sound, experiment.data.tokenizer
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        np.savez(out, x=x)
    elif out.suffix == ".npy":
        np.save(out, x)
    elif tokenizer is not None:
        save_texts(out, tokenizer, x, stop_token(experiment.model))
    elif out.suffix == ".png":
        save_picture(out, sample_picture(experiment.to_display(x)))
    elif sound is not None and out.suffix:
        sound.save(out, x[0])
    elif sound is not None:
        save_sounds(out, sound, x)


def evaluate(arguments: list[str]) -> int:
    """Score a finished run and its samples."""
    path, flags = _positional(arguments, "evaluate", "RUN", "a run folder that train wrote", EvaluateOptions)
    import jax

    from genjax.evaluation.registry import check_names, summary
    from genjax.metrics import feature_network, table
    from genjax.metrics.progress import progress_bars
    from genjax.runner.compilation import enable_compilation_cache
    from genjax.runner.folder import RunFolder
    from genjax.runner.load import load_experiment, load_run
    from genjax.runner.records import read_results, record_results

    enable_compilation_cache()
    experiment = load_experiment(path, defer_data=True)
    model, dataset = experiment.model, experiment.data
    # Without the settings of previews: the distribution of the model itself is evaluated.
    model_flags = flags_of_sample(model, dataset, {})
    description = f"Metrics:\n\n{summary()}"
    parsed, options = parse(f"genjax evaluate {path}", flags, model_flags, EvaluateOptions, description=description)
    names = check_names(options.metrics)
    network = feature_network(options.features)
    if options.record is not None:
        read_results(options.record)  # raises for an unusable file before anything is computed
    run = load_run(path, checkpoint=options.checkpoint, experiment=experiment)
    changed = _changed_flags(parsed)
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
            **(changed | read_conditions(changed, model, dataset, num_samples=1)),
        )
    settings = ("checkpoint", "seed", "split", "features", "num_samples", "num_neighbours", "likelihood_samples")
    report: Mapping[str, Any] = {
        "results": {name: result.as_dict() for name, result in results.items()},
        "step": run.step,
        **{name: getattr(options, name) for name in settings},
        "sample_flags": changed,
    }
    print(json.dumps(report) if options.json else table(list(results.values())))
    out = _write_evaluation(RunFolder(path), report, options.out)
    print(f"wrote {out}", file=sys.stderr)
    if options.record is not None:
        record_results(options.record, path, report)
        print(f"recorded in {options.record}", file=sys.stderr)
    return 0


def _write_evaluation(folder: RunFolder, report: Mapping[str, Any], out: Path | None) -> Path:
    """Write the results of an evaluation, and return the file."""
    from genjax.data.io import replace_file

    if out is not None:
        replace_file(out, (json.dumps(report, indent=2) + "\n").encode())
        return out
    try:
        folder.write_json("evaluation.json", report)
        with (folder / "evaluations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")
    except OSError as error:
        raise OSError(f"cannot write evaluation.json ({error}); pass --out FILE to write elsewhere") from error
    return folder / "evaluation.json"


def _changed_flags(flags: Any) -> dict[str, Any]:
    """Return the flags that are not at their defaults."""
    values = {field.name: (getattr(flags, field.name), field.default) for field in dataclasses.fields(flags)}
    return {name: value for name, (value, default) in values.items() if value != default}


def latent(arguments: list[str]) -> int:
    """Draw pictures of a finished run's latent space."""
    path, flags = _positional(arguments, "latent", "RUN", "a run folder that train wrote", LatentOptions)
    import jax

    from genjax.figures.images import save_picture
    from genjax.runner.load import load_run

    (options,) = parse(f"genjax latent {path}", flags, LatentOptions)
    for name, limit in (("rows", 1), ("steps", 2), ("label", 0)):
        check_at_least(name, getattr(options, name), limit)
    run = load_run(path, checkpoint=options.checkpoint)
    key, out = jax.random.key(options.seed), options.out or path / "latent"
    settings = {name: getattr(options, name) for name in ("split", "rows", "steps", "label")}
    pictures = run.latent_pictures(key, **settings)
    for name, pixels in pictures.items():
        save_picture(out / f"{name}.png", pixels)
    print(f"wrote {', '.join(f'{name}.png' for name in pictures)} in {out}")
    return 0


def list_models(arguments: list[str]) -> int:
    """List models, their capabilities and the experiments that use them."""
    from genjax.cli import models

    (options,) = parse("genjax list", arguments, ListOptions)
    entries = models.list_models(options.experiments)
    if options.json:
        print(json.dumps(entries))
        return 0
    for entry in entries:
        print(f"{entry['family']}.{entry['model']}  ({entry['file']})\n    {entry['summary']}")
        print(f"    can: {', '.join(entry['capabilities']) or 'sample'}")
        print(f"    experiments: {', '.join(entry['experiments']) or 'none here'}")
    return 0


def _positional(arguments: list[str], command: str, name: str, what: str, options: type) -> tuple[Path, list[str]]:
    """Return the positional argument and the flags after it; for --help, print the general help and exit."""
    if arguments and arguments[0] in ("-h", "--help"):
        tyro.cli(
            options,
            prog=f"genjax {command} {name}",
            description=f"{name} is {what}; 'genjax {command} {name} --help' with a real {name} shows all its flags.",
            args=["--help"],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    if not arguments or arguments[0].startswith("-"):
        raise ValueError(f"{name} is missing: it comes first and is {what}; see genjax {command} --help")
    return Path(arguments[0]), arguments[1:]


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "latent": latent,
    "list": list_models,
}
