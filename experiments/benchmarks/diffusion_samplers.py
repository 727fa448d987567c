"""Sample quality of a diffusion model by the number of network evaluations: every sampler on one trained model.

    genjax train experiments/diffusion_digits.py --workdir RUN
    python experiments/benchmarks/diffusion_samplers.py --run RUN [--json] [--repeats 2] [--evaluations 5 10 15 ...]

Fréchet distances between 2,000 samples and the test images, on features of the project's classifier. Labels are those
of the data in random order, without guidance. All samplers start from the same noise, with noise levels spaced evenly
in log-SNR; a step takes as many network evaluations as the method of the sampler needs. ``--only "lower" --evaluations
1000 --num-samples 5000`` gives the reference for few steps.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from report import arguments, machine

from genjax import diffusion, load_run
from genjax.core import step_key
from genjax.metrics import feature_network

SAMPLERS: Mapping[str, diffusion.samplers.Sampler] = {
    "ancestral, lower variance": diffusion.samplers.Ancestral(),
    "ancestral, upper variance": diffusion.samplers.Ancestral("upper"),
    "Euler-Maruyama": diffusion.samplers.EulerMaruyama(),
    "predictor-corrector": diffusion.samplers.PredictorCorrector(diffusion.samplers.Ancestral()),
    "annealed Langevin": diffusion.samplers.PredictorCorrector(),
    "DPM-Solver++ (2M SDE)": diffusion.samplers.DPMSolverPP(2, stochastic=True),
    "Heun with churn": diffusion.samplers.Heun(diffusion.samplers.Churn(0.2)),
    "DDIM": diffusion.samplers.DDIM(),
    "Euler": diffusion.samplers.Euler(),
    "Heun": diffusion.samplers.Heun(),
    "DPM-Solver-2": diffusion.samplers.DPMSolver2(),
    "DPM-Solver++ (2M)": diffusion.samplers.DPMSolverPP(2),
    "DPM-Solver++ (3M)": diffusion.samplers.DPMSolverPP(3),
}


def main() -> None:
    """Sample, score and print the table row by row."""
    more = {
        "run": {"required": True, "help": "run folder of experiments/diffusion_digits.py"},
        "features": {"default": "classifier:digits", "help": "see genjax evaluate"},
        "evaluations": {"type": int, "nargs": "+", "default": [5, 10, 15, 20, 50, 100], "help": "network evaluations"},
        "num-samples": {"type": int, "default": 2_000, "help": "number of samples of each distance"},
        "only": {"default": "", "help": "run only samplers whose name contains this"},
    }
    options = arguments(__doc__ or "", repeats=2, **more)
    samplers = {name: sampler for name, sampler in SAMPLERS.items() if options.only in name}
    if not samplers:
        sys.exit(f"only is {options.only!r}, but names are {', '.join(SAMPLERS)}")
    run, network = load_run(options.run), feature_network(options.features)
    if not options.json:
        print(f"{'evaluations':<28}" + "".join(f"{count:>17}" for count in options.evaluations))
    for name, sampler in samplers.items():
        started, distances = time.perf_counter(), {}
        for count in options.evaluations:
            settings: dict[str, Any] = {"sampler": sampler, "num_steps": count // sampler.evaluations}
            if settings["num_steps"] == 0:
                distances[count] = np.full(options.repeats, np.nan)
                continue
            results = [
                run.evaluate(
                    step_key(jax.random.key(0), draw),
                    metrics=["frechet_distance"],
                    num_samples=options.num_samples,
                    network=network,
                    batch_size=min(1_000, options.num_samples),
                    **settings,
                )
                for draw in range(options.repeats)
            ]
            distances[count] = np.array([result["frechet_distance"].value for result in results])
        print_row(name, distances, time.perf_counter() - started, as_json=options.json)
    if not options.json:
        print(f"{options.num_samples:,} samples, {options.repeats} draws, mean ± sd; {machine()}")


def cell_of(values: np.ndarray) -> str:
    """Format distances over draws; "-" if the sampler needs more evaluations."""
    if np.isnan(values).any():
        return "-"
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def print_row(name: str, distances: Mapping[int, np.ndarray], seconds: float, *, as_json: bool) -> None:
    """Print a row of the table, or a line of JSON."""
    if as_json:
        entries = {"sampler": name, "distances": {count: values.tolist() for count, values in distances.items()}}
        print(json.dumps({**entries, "seconds": round(seconds, 1), "machine": machine()}), flush=True)
        return
    cells = [cell_of(values) for values in distances.values()]
    print(f"{name:<28}" + "".join(f"{cell:>17}" for cell in cells) + f"   {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
