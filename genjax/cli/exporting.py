"""From a run folder to an export folder, and from that to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genjax.cli.flags import flags_of_sample, parse
from genjax.cli.options import ExportOptions, ServeOptions
from genjax.runner.shell import genjax_command


def export_folder(path: Path, flags: list[str]) -> int:
    """Export a run folder by the flags of ``genjax export``, and return the exit status."""
    from genjax.export import export_run
    from genjax.runner.load import load_experiment, load_run

    experiment = load_experiment(path, defer_data=True)
    model_flags = flags_of_sample(experiment.model, experiment.data, experiment.preview_kwargs, with_conditions=False)
    parsed, options = parse(genjax_command("export", path), flags, model_flags, ExportOptions)
    run = load_run(path, checkpoint=options.checkpoint, ema=options.ema, experiment=experiment)
    out = options.out or path / "export"
    names = export_run(
        run,
        out,
        what=_names(options.what or ""),
        platforms=_names(options.platforms),
        batch_size=options.batch_size,
        replica=options.replica,
        prompt_length=options.prompt_length,
        likelihood_samples=options.likelihood_samples,
        num_new=options.num_new,
        sample_kwargs={name: value for name, value in vars(parsed).items() if value is not None},
    )
    print(f"wrote {out}: {', '.join(names)} at step {run.step}; {out}/card.json describes them")
    return 0


def serve_folder(path: Path, flags: list[str]) -> int:
    """Serve an export folder by the flags of ``genjax serve``, and return the exit status."""
    from genjax.compilation import enable_compilation_cache
    from genjax.serving import serve

    (options,) = parse(genjax_command("serve", path), flags, ServeOptions)
    if not options.sizes:
        raise ValueError("sizes is empty, but needs at least one number of rows")
    enable_compilation_cache()
    serve(path, **vars(options))
    return 0


def _names(text: str) -> Any:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
