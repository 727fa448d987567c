"""Compare the samples of any tool: ``python -m genjax.metrics REAL.npz GENERATED.npz``.

Each file is ``.npz`` with an array ``x``, or ``.npy``; samples along the first axis, images as (N, H, W, C) in [0, 1]
or uint8. Exit status 2 for what is refused.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from genjax.metrics.compare import DEFAULT, compare
from genjax.metrics.features import FeatureNetwork, extract, feature_network
from genjax.metrics.progress import Progress, bars
from genjax.metrics.result import Result, table


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare two sets of samples.

    Attributes:
      real: .npz with an array x, or .npy: the reference.
      generated: the same for the samples.
      metrics: what to compare by: frechet_distance, kernel_distance, precision_recall, mmd2, sliced_wasserstein,
        classifier_test.
      features: what to compare: pixels, classifier:DATASET or inception:WEIGHTS.safetensors.
      num_neighbours: k of precision, recall, density and coverage.
      batch_size: images at once in the feature network.
      seed: of what is random: directions, shuffling.
      json: print one JSON object instead of a table.
    """

    real: Annotated[Path, tyro.conf.Positional]
    generated: Annotated[Path, tyro.conf.Positional]
    metrics: tuple[str, ...] = DEFAULT
    features: str = "pixels"
    num_neighbours: int = 5
    batch_size: int = 500
    seed: int = 0
    json: bool = False


def read(path: Path) -> np.ndarray:
    """Read samples.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: for another kind of file, one without ``x``, and arrays that are empty or hold no numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} is neither .npz nor .npy of numbers; write it by numpy.savez({path.stem!r}, x=...)"
        ) from None
    if isinstance(loaded, np.ndarray):
        x = loaded
    elif "x" not in loaded.files:
        raise ValueError(
            f"{path} has arrays {sorted(loaded.files)}, but needs x; write it with numpy.savez(file, x=...)"
        )
    else:
        x = loaded["x"]
    if x.dtype.kind not in "fiub" or x.ndim < 1 or not x.size:
        raise ValueError(
            f"x of {path} is {x.dtype} of shape {x.shape}, but must be numbers, samples along the first axis"
        )
    return x[:, None] if x.ndim == 1 else x


def run(options: Options, progress: Progress) -> tuple[list[Result], dict[str, Any]]:
    """Return the results and their common protocol."""
    network = feature_network(options.features)
    sides = {name: read(getattr(options, name)) for name in ("real", "generated")}
    features = {name: _features(network, x, name, options.batch_size, progress) for name, x in sides.items()}
    protocol = network.protocol | {
        "reference": f"{len(sides['real'])} of {options.real}",
        "generated": f"{len(sides['generated'])} of {options.generated}",
    }
    results = compare(
        features["real"],
        features["generated"],
        options.metrics,
        key=jax.random.key(options.seed),
        num_neighbours=options.num_neighbours,
        protocol=protocol,
        progress=progress,
    )
    return results, protocol


def _features(network: FeatureNetwork, x: np.ndarray, name: str, batch_size: int, progress: Progress) -> Any:
    done = progress(f"features of {name}", len(x))

    def batches() -> Any:
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size]
            done(min(batch_size, len(x) - start))

    return extract(network, batches(), len(x)).features


def as_json(results: Sequence[Result], protocol: dict[str, Any]) -> dict[str, Any]:
    """Return values by name, and under ``protocol`` all that it takes to compare them."""
    told = {result.name: result.as_dict() for result in results}
    own = {
        name: {entry: value for entry, value in said.items() if entry not in ("value", *protocol)}
        for name, said in told.items()
    }
    return {name: said["value"] for name, said in told.items()} | {"protocol": protocol | own}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = tyro.cli(Options, prog="python -m genjax.metrics", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        with bars() as progress:
            results, protocol = run(options, progress)
    except (ValueError, OSError) as refused:
        print(f"genjax.metrics: error: {' '.join(str(refused).split())}", file=sys.stderr)
        return 2
    print(json.dumps(as_json(results, protocol | {"seed": options.seed})) if options.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
