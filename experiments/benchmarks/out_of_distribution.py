"""Do densities of Fashion-MNIST tell it from MNIST? Two energies, a flow and a variational autoencoder.

    python experiments/benchmarks/out_of_distribution.py [--json] [--repeats SEEDS] [--runs RUN ...]

All are trained on the training images of Fashion-MNIST alone. Their score is minus the log-density: unnormalized for
the energies, exact for RealNVP, and the lower bound for the variational autoencoder. AUROC is the probability that an
image of MNIST has a higher score than one of Fashion-MNIST, over both test splits, 10,000 images each; mean ± sd over
seeds. Below 0.5, a model finds digits more likely than the clothes that it was trained on (Eric Nalisnick et al. 2019,
arXiv:1810.09136).

The energies are ``experiments/energy_out_of_distribution.py`` and ``experiments/energy_fashion_mnist.py``; the others
are the experiments on MNIST with these images, fewer steps and, for the flow, smaller networks. With run folders, the
first rows are those of these runs.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from report import arguments

sys.path.insert(0, str(Path(__file__).parents[1]))

import energy_fashion_mnist
import energy_out_of_distribution
import real_nvp_mnist
import vae_mnist

from genjax import Experiment
from genjax.runner import load_run, train


def experiments() -> dict[str, Experiment]:
    """Return what is trained, by name, on the training images of ``clothes_and_digits``."""
    trained = {
        "energy, score matching": energy_out_of_distribution.experiment(),
        "energy, contrastive divergence": energy_fashion_mnist.experiment(),
        "RealNVP": real_nvp_mnist.experiment(num_layers=2, features=8, steps=500),
        "VAE": vae_mnist.experiment(steps=2_000),
    }
    images = energy_out_of_distribution.clothes_and_digits()
    return {name: dataclasses.replace(experiment, data=images) for name, experiment in trained.items()}


def main() -> None:
    """Run the benchmark and print its rows."""
    folders = {"nargs": "*", "type": Path, "default": [], "help": "run folders of finished rows, by the rows' order"}
    options = arguments(__doc__ or "", repeats=1, runs=folders)
    for (name, experiment), folder in itertools.zip_longest(experiments().items(), options.runs):
        run = load_run(folder, experiment=experiment) if folder else train(experiment, seeds=options.repeats)
        result = run.evaluate(jax.random.key(0), metrics=["detection"])["auroc"]
        values = np.asarray(result.replicas if len(run.seeds) > 1 else [result.value])
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        score = result.protocol["score"]
        row = {"model": name, "score": score, "auroc": float(np.mean(values)), "sd": sd, "seeds": len(values)}
        if options.json:
            print(json.dumps(row))
        else:
            spread = "" if sd is None else f" ± {sd:.3f}"
            print(f"{name:<32}{score:<24}{row['auroc']:.3f}{spread}   seeds: {row['seeds']}", flush=True)


if __name__ == "__main__":
    main()
