"""The commands; each takes the arguments after its name and returns the exit status.

The flags of ``train`` are the arguments of the file's ``experiment`` function, those of ``sample`` the keyword-only
arguments of that model's own ``sample`` and the conditions that it declares.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import tyro

from genjax.capabilities import Translates, stop_token, supports
from genjax.cli.conditions import ALL, class_number, describe_label, describe_texts, read_conditions, with_required
from genjax.cli.flags import flags_of_function, flags_of_sample, parse, paths_and_flags
from genjax.cli.image_files import (
    ImageFile,
    ImageResult,
    Size,
    check_images,
    describe_bad,
    find_images,
    process_images,
    target_of,
)
from genjax.cli.options import (
    CompareOptions,
    CompileOptions,
    EditOptions,
    EvaluateOptions,
    ExportOptions,
    JudgeOptions,
    LatentOptions,
    ListOptions,
    SampleOptions,
    ServeOptions,
    TrainOptions,
    TranslateOptions,
)
from genjax.cli.output import check_memory, check_out, default_suffix, write_evaluation, write_samples
from genjax.evaluation.image_batches import ImageFunction
from genjax.evaluation.samples import num_batches
from genjax.ops.keys import seed_key
from genjax.runner.shell import genjax_command

if TYPE_CHECKING:
    from genjax.experiment import Experiment
    from genjax.runner import Run


def train(arguments: list[str]) -> int:
    """Train the experiment of a file."""
    file, flags = _positional(arguments, "train", "FILE", "a Python file that defines experiment()", TrainOptions)
    from genjax.cli.processes import connected
    from genjax.runner import load_experiment_fn
    from genjax.runner.folder import newest_path

    function = load_experiment_fn(file)
    program = genjax_command("train", file)
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions), TrainOptions)
    options.check()
    if options.devices is not None:
        from genjax.compilation import divide_cpu

        divide_cpu(options.devices)
    with contextlib.ExitStack() as stack:
        if options.distributed or options.coordinator is not None:
            stack.enter_context(connected(options.coordinator, options.num_processes, options.process_id))
        if options.resume:
            options.workdir = options.workdir or newest_path(file.stem)
            hyper, options = _parse_resumed(program, flags, function, options.workdir)
        run = _train(file, function, hyper, options)
    if supports(run.model, Translates):
        more = f"translate images with: {genjax_command('translate', run.folder, 'IMAGES', '--out', 'DIR')}"
    else:
        more = f"draw more with: {genjax_command('sample', run.folder, '-n', 64)}"
    print(f"wrote {run.folder}: see {run.folder}/report.md, and {more}")
    return 0


def _train(file: Path, function: Callable[..., Any], hyper: Any, options: TrainOptions) -> Run:
    """Train the experiment that a function returns for hyper-parameters."""
    from genjax.data.deferred import record_datasets
    from genjax.experiment import Experiment
    from genjax.runner import train as train_experiment
    from genjax.runner.folder import ExperimentSource, default_folder
    from genjax.runner.modules import modules_beside
    from genjax.runner.stored_arguments import check_storable

    hyper_parameters = dict(vars(hyper))  # asdict would take dataclasses among the arguments apart
    check_storable(function, hyper_parameters)
    with record_datasets() as datasets:
        experiment = function(**hyper_parameters)
    if not isinstance(experiment, Experiment):
        raise ValueError(
            f"experiment() in {file} returned a {type(experiment).__name__}, but must return a genjax Experiment"
        )
    experiment, mesh = options.layout(experiment)
    with contextlib.nullcontext(options.workdir) if options.workdir else default_folder(file.stem) as workdir:
        return train_experiment(
            experiment,
            seed=options.seed,
            seeds=options.seeds,
            workdir=workdir,
            resume=options.resume,
            overwrite=options.overwrite,
            mesh=mesh,
            source=ExperimentSource(
                name=file.stem,
                file=file,
                modules=modules_beside(file),
                arguments=hyper_parameters,
                description=inspect.cleandoc(function.__globals__["__doc__"] or ""),
                datasets=datasets,
            ),
        )


def _parse_resumed(program: str, flags: list[str], function: Callable[..., Any], workdir: Path) -> tuple[Any, Any]:
    """Parse again with the run's own arguments as defaults, so that resuming needs no flags."""
    from genjax.runner.folder import RunFolder
    from genjax.runner.settings import TrainSettings
    from genjax.runner.stored_arguments import arguments_from_json

    stored = RunFolder(workdir).read_json("arguments.json")
    began_with = TrainSettings.from_json(stored)
    defaults = arguments_from_json(function, stored["arguments"])
    hyper, options = parse(program, flags, flags_of_function(function, TrainOptions, defaults), TrainOptions)
    flagged = {flag.split("=")[0] for flag in flags}
    return hyper, dataclasses.replace(
        options,
        workdir=workdir,
        seed=options.seed if "--seed" in flagged else began_with.seed,
        seeds=options.seeds if "--seeds" in flagged else began_with.seeds,
        accumulate=options.accumulate or began_with.accumulate,
        dtype=options.dtype or began_with.dtype,
        remat=options.remat or bool(began_with.remat),
        offload_optimizer=options.offload_optimizer or bool(began_with.offload_optimizer),
    )


def compile_experiment(arguments: list[str]) -> int:
    """Compile an experiment for chips that are not there, and print what it costs."""
    what = "an experiment file, or a run folder that train wrote"
    path, flags = _positional(arguments, "compile", "FILE|RUN", what, CompileOptions)
    from genjax.cli.compiling import compile_path

    return compile_path(path, flags)


def sample(arguments: list[str]) -> int:
    """Draw samples from a finished run, without opening its data."""
    path, flags = _positional(arguments, "sample", "RUN", "a run folder that train wrote", SampleOptions)
    import numpy as np

    from genjax.compilation import enable_compilation_cache
    from genjax.runner.load import load_experiment, load_run

    enable_compilation_cache()
    # The flags depend on the model, and the checkpoint on the flags, so the experiment is loaded first.
    experiment = load_experiment(path, defer_data=True)
    options, sample_kwargs = _parse_sample(path, flags, experiment)
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema, experiment=experiment)
    seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    with _sampling_progress(experiment, sample_kwargs, options) as extra:
        settings: dict[str, Any] = {"replica": options.replica, "batch_size": options.batch_size}
        x = run.sample(seed_key(seed), options.num_samples, **settings, **sample_kwargs, **extra)
    out = options.out or path / "samples" / f"seed_{seed}{default_suffix(experiment)}"
    label = sample_kwargs.get("label")
    write_samples(out, np.asarray(x), label if isinstance(label, np.ndarray) else None, experiment)
    classes = describe_label(label, experiment.data) + describe_texts(sample_kwargs, experiment.model, experiment.data)
    print(f"wrote {out}: {options.num_samples} samples{classes} at step {run.step}, drawn with --seed {seed}")
    return 0


def _parse_sample(path: Path, flags: list[str], experiment: Experiment) -> tuple[SampleOptions, dict[str, Any]]:
    model, dataset = experiment.model, experiment.data
    model_flags = flags_of_sample(model, dataset, experiment.preview_kwargs)
    parsed, options = parse(genjax_command("sample", path), flags, model_flags, SampleOptions)
    if options.out is not None:
        check_out(options.out, options.num_samples, experiment)
    check_memory(options.num_samples, dataset)
    values = {name: value for name, value in dataclasses.asdict(parsed).items() if value is not None}
    values = with_required(values, model)
    return options, values | read_conditions(values, model, dataset, options.num_samples)


@contextlib.contextmanager
def _sampling_progress(
    experiment: Experiment, sample_kwargs: Mapping[str, Any], options: SampleOptions
) -> Iterator[dict[str, Any]]:
    """Yield arguments that show how far sampling is: a single text is streamed, anything else advances a bar.

    Models that draw token by token advance it by tokens, others by samples.
    """
    import jax

    from genjax.figures.texts import stream_text
    from genjax.metrics.progress import progress_bars

    model, tokenizer, num_samples = experiment.model, experiment.data.tokenizer, options.num_samples
    takes_callback = "callback" in inspect.signature(model.sample).parameters
    if takes_callback and tokenizer is not None and num_samples == 1:
        yield {"callback": stream_text(tokenizer, sys.stdout, stop_token(model))}
        jax.effects_barrier()
        print()
        return
    if not takes_callback:
        with progress_bars(unit="sample") as progress:
            start = functools.cache(lambda: progress("samples", num_samples))  # not before the first batch is drawn

            def finished(count: int) -> None:
                start()(count)

            yield {"progress": finished}
        return
    length = sample_kwargs.get("num_tokens") or math.prod(experiment.data.spec()["x"].shape)
    with progress_bars(unit="token") as progress:
        advance = progress("samples", length * num_batches(num_samples, options.batch_size))
        yield {"callback": lambda number, tokens: advance(1)}
        jax.effects_barrier()  # waits for the callbacks of the last tokens


def translate(arguments: list[str]) -> int:
    """Translate images by a finished run, without opening its data."""
    path, images, (options,) = _parse_with_images(arguments, "translate", TranslateOptions)
    from genjax.cli import translation
    from genjax.compilation import enable_compilation_cache
    from genjax.evaluation.translation import check_direction, translator
    from genjax.figures.images import save_picture, to_rgb
    from genjax.runner.load import load_experiment, load_run

    enable_compilation_cache()
    experiment = load_experiment(path, defer_data=True)
    direction = check_direction(experiment.model, options.direction)
    channels = translation.num_channels(experiment, direction)
    out = options.out or path / "translations" / direction
    files = find_images(images, out, overwrite=options.overwrite)
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema, experiment=experiment)
    model, variables = cast(Translates, run.model), run.replica(options.replica)
    refusal = functools.partial(translation.refusal, model, variables, direction, channels)
    sizes, num_bad = _usable(files, refusal, channels, options.skip_bad)
    function = functools.partial(translator(model, direction), variables)
    count = 0
    for file, _, image in _processed(sizes, function, channels, options):
        save_picture(target_of(out, file.name), to_rgb(image[None])[0])
        count += 1
    print(f"wrote {out}: {count} images {direction} at step {run.step}{_skipped(num_bad)}")
    return 0


def edit(arguments: list[str]) -> int:
    """Edit images by a finished run of a diffusion model, without opening its data."""
    path, images, (options,) = _parse_with_images(arguments, "edit", EditOptions)
    from genjax.cli.editing import Editor, check_picture, picture_of, write_edits
    from genjax.compilation import enable_compilation_cache
    from genjax.runner.load import load_experiment, load_run

    enable_compilation_cache()
    experiment = load_experiment(path, defer_data=True)
    editor = Editor(experiment, options)
    out = options.out or path / "edits" / editor.task
    files = find_images(images, out, overwrite=options.overwrite)
    check_picture(out, overwrite=options.overwrite)
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema, experiment=experiment)
    function = editor.function(run.replica(options.replica))
    sizes, num_bad = _usable(files, editor.refusal, editor.channels, options.skip_bad)
    count = write_edits(_processed(sizes, function, editor.channels, options), out, editor)
    shown = f"; {picture_of(out)} shows them beside their images" if count else ""
    print(f"wrote {out}: {count} images by {editor.task} at step {run.step}{_skipped(num_bad)}{shown}")
    return 0


def _parse_with_images(arguments: list[str], command: str, options: type) -> tuple[Path, list[Path], tuple[Any, ...]]:
    """Return run folder, images and options of a command whose images follow the run folder."""
    path, rest = _positional(arguments, command, "RUN", "a run folder that train wrote", options, "IMAGES ...")
    images, flags = paths_and_flags(rest)
    return path, images, parse(genjax_command(command, path, *images), flags, options)


def _usable(
    files: Sequence[ImageFile], refusal: Callable[[Size], str | None], channels: int, skip_bad: bool
) -> tuple[Mapping[Size, Sequence[ImageFile]], int]:
    """Return the images that can be processed by size, and the number of others; without skip_bad, raise for those."""
    from genjax.metrics.progress import progress_bars

    with progress_bars(unit="image") as progress:
        sizes, bad = check_images(files, refusal, channels=channels, progress=progress)
    if bad and not skip_bad:
        raise ValueError(describe_bad(bad, len(files)))
    for reason in bad.values():
        print(f"genjax: warning: skipped: {reason}", file=sys.stderr)
    return sizes, len(bad)


def _processed(
    sizes: Mapping[Size, Sequence[ImageFile]], function: ImageFunction, channels: int, options: Any
) -> Iterator[ImageResult]:
    """Yield what a function makes of images, with a progress bar."""
    from genjax.metrics.progress import progress_bars

    with progress_bars(unit="image") as progress:
        settings: dict[str, Any] = {"channels": channels, "batch_size": options.batch_size, "progress": progress}
        yield from process_images(sizes, function, seed_key(options.seed), **settings)


def _skipped(count: int) -> str:
    return f", {count} skipped" if count else ""


def evaluate(arguments: list[str]) -> int:
    """Score a finished run and its samples."""
    path, flags = _positional(arguments, "evaluate", "RUN", "a run folder that train wrote", EvaluateOptions)

    from genjax.compilation import enable_compilation_cache
    from genjax.evaluation.registry import check_names, summary
    from genjax.metrics import feature_network, table
    from genjax.metrics.progress import progress_bars
    from genjax.metrics.result import terminal_width
    from genjax.runner.folder import RunFolder
    from genjax.runner.load import load_experiment, load_run
    from genjax.runner.records import read_results, record_results

    enable_compilation_cache()
    experiment = load_experiment(path, defer_data=True)
    model, dataset = experiment.model, experiment.data
    # Without the settings of previews: the distribution of the model itself is evaluated.
    model_flags = flags_of_sample(model, dataset, {})
    description = f"Metrics:\n\n{summary()}"
    parsed, options = parse(
        genjax_command("evaluate", path), flags, model_flags, EvaluateOptions, description=description
    )
    names = check_names(options.metrics)
    network = feature_network(options.features, dataset)
    if options.record is not None:
        read_results(options.record)  # raises for an unusable file before anything is computed
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema, experiment=experiment)
    check_memory(options.num_samples, dataset)
    changed = {name: value for name, value in _changed_flags(parsed).items() if value != ALL}
    with progress_bars() as progress:
        results = run.evaluate(
            seed_key(options.seed),
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
    settings = ("checkpoint", "ema", "seed", "split", "features", "num_samples", "num_neighbours", "likelihood_samples")
    report: Mapping[str, Any] = {
        "results": {name: result.as_dict() for name, result in results.items()},
        "step": run.step,
        **{name: getattr(options, name) for name in settings},
        "sample_flags": {name: str(value) if isinstance(value, Path) else value for name, value in changed.items()},
    }
    print(json.dumps(report) if options.json else table(list(results.values()), width=terminal_width()))
    if all(result.value is None for result in results.values()):
        metrics = run.available_metrics(split=options.split, network=network)
        print(f"none of these is available for this run; use --metrics {' '.join(metrics)}", file=sys.stderr)
    out = write_evaluation(RunFolder(path), report, options.out)
    print(f"wrote {out}", file=sys.stderr)
    if options.record is not None:
        record_results(options.record, path, report)
        print(f"recorded in {options.record}", file=sys.stderr)
    return 0


def _changed_flags(flags: Any) -> dict[str, Any]:
    """Return the flags that are not at their defaults."""
    values = {field.name: (getattr(flags, field.name), field.default) for field in dataclasses.fields(flags)}
    return {name: value for name, (value, default) in values.items() if value != default}


def compare(arguments: list[str]) -> int:
    """Compare finished runs, or the experiments of a suite, and write one report."""
    from genjax.cli.comparing import compare_runs, compare_suite

    if arguments and arguments[0].partition("=")[0] == "--suite":
        return compare_suite(arguments)
    path, rest = _positional(arguments, "compare", "RUN", "a run folder that train wrote", CompareOptions, "RUN ...")
    return compare_runs(path, rest)


def choose(arguments: list[str]) -> int:
    """Print the models that meet some needs best, from a measured table."""
    from genjax.cli.choosing import choose_models

    return choose_models(arguments)


def judge(arguments: list[str]) -> int:
    """Make a page on which people compare samples of finished runs, or score the answers of its raters."""
    from genjax.cli.judging import judge_runs, score_answers

    if arguments and arguments[0].partition("=")[0] == "--score":
        return score_answers(arguments)
    path, rest = _positional(arguments, "judge", "RUN", "a run folder that train wrote", JudgeOptions, "RUN ...")
    return judge_runs(path, rest)


def latent(arguments: list[str]) -> int:
    """Draw pictures of a finished run's latent space."""
    path, flags = _positional(arguments, "latent", "RUN", "a run folder that train wrote", LatentOptions)

    from genjax.figures.images import save_picture
    from genjax.runner.load import load_run

    (options,) = parse(genjax_command("latent", path), flags, LatentOptions)
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema)
    key, out = seed_key(options.seed), options.out or path / "latent"
    settings = {name: getattr(options, name) for name in ("split", "rows", "steps")}
    settings["label"] = class_number(options.label, run.experiment.data)
    pictures = run.latent_pictures(key, **settings)
    for name, pixels in pictures.items():
        save_picture(out / f"{name}.png", pixels)
    print(f"wrote {', '.join(f'{name}.png' for name in pictures)} in {out}")
    return 0


def export(arguments: list[str]) -> int:
    """Export a finished run as programs that run without this library."""
    path, flags = _positional(arguments, "export", "RUN", "a run folder that train wrote", ExportOptions)
    from genjax.cli.exporting import export_folder

    return export_folder(path, flags)


def serve(arguments: list[str]) -> int:
    """Answer HTTP requests by an exported model."""
    path, flags = _positional(arguments, "serve", "DIR", "a folder that export wrote", ServeOptions)
    from genjax.cli.exporting import serve_folder

    return serve_folder(path, flags)


def list_models(arguments: list[str]) -> int:
    """List models, their capabilities and the experiments that use them."""
    from genjax.cli import models

    (options,) = parse(genjax_command("list"), arguments, ListOptions)
    entries = models.list_models(options.experiments)
    if options.json:
        print(json.dumps(entries))
        return 0
    for entry in entries:
        print(f"{entry['family']}.{entry['model']}  ({entry['file']})\n    {entry['summary']}")
        print(f"    can: {', '.join(entry['capabilities']) or 'sample'}")
        print(f"    experiments: {', '.join(entry['experiments']) or 'none here'}")
    return 0


def _positional(
    arguments: list[str], command: str, name: str, what: str, options: type, others: str = ""
) -> tuple[Path, list[str]]:
    """Return the positional argument and the rest, which may begin with ``others``; for --help, print help and exit."""
    if arguments and arguments[0] in ("-h", "--help"):
        tyro.cli(
            options,
            prog=f"genjax {command} {name} {others}".rstrip(),
            description=f"{name} is {what}; 'genjax {command} {name} --help' with a real {name} shows all its flags.",
            args=["--help"],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    if not arguments or arguments[0].startswith("-"):
        raise ValueError(f"{name} is missing: it comes first and is {what}; see {genjax_command(command, '--help')}")
    return Path(arguments[0]), arguments[1:]


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "train": train,
    "compile": compile_experiment,
    "sample": sample,
    "translate": translate,
    "edit": edit,
    "evaluate": evaluate,
    "compare": compare,
    "choose": choose,
    "judge": judge,
    "latent": latent,
    "export": export,
    "serve": serve,
    "list": list_models,
}
