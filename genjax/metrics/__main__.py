"""Compare samples from any tool: ``python -m genjax.metrics REAL.npz GENERATED.npz``.

Each file is a ``.npz`` with an array ``x``, or a ``.npy``. Samples lie along the first axis; images are (N, H, W, C),
floats in [0, 1] or uint8. The exit status is 2 if the input is invalid.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from genjax.core import Array
from genjax.data.io import read_entry
from genjax.metrics.compare import COMPARISONS, DEFAULT, compare
from genjax.metrics.features import FeatureNetwork, extract, feature_network
from genjax.metrics.progress import Progress, chunks, progress_bars
from genjax.metrics.result import Result, table
from genjax.ops.keys import seed_key

Names = Annotated[tuple[str, ...], tyro.conf.arg(help=f"comparisons to compute: {', '.join(COMPARISONS)}.")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare two sets of samples.

    Attributes:
      real: reference data, a .npz with an array x or a .npy.
      generated: generated samples, in the same format.
      features: features to compare: pixels, classifier:DATASET or inception:WEIGHTS.safetensors.
      num_neighbours: number of neighbours, k, for precision, recall, density and coverage.
      batch_size: number of images in one batch of the feature network.
      seed: random seed for projection directions and shuffling.
      json: print one JSON object instead of a table.
    """

    real: Annotated[Path, tyro.conf.Positional]
    generated: Annotated[Path, tyro.conf.Positional]
    metrics: Names = DEFAULT
    features: str = "pixels"
    num_neighbours: int = 5
    batch_size: int = 500
    seed: int = 0
    json: bool = False


def read(path: Path) -> np.ndarray:
    """Read samples from a file; raise FileNotFoundError without it, and ValueError if it holds no samples."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
    except Exception:  # damaged files raise anything
        raise ValueError(
            f"{path} is neither .npz nor .npy of numbers; write it with numpy.savez({path.stem!r}, x=...)"
        ) from None
    if not isinstance(loaded, np.ndarray) and "x" not in loaded:
        raise ValueError(f"{path} has arrays {sorted(loaded)}, but needs x; write it with numpy.savez(file, x=...)")
    x = loaded if isinstance(loaded, np.ndarray) else read_entry(path, loaded, "x")
    if x.dtype.kind not in "fiub" or x.ndim < 1 or not x.size:
        raise ValueError(
            f"x of {path} is {x.dtype} of shape {x.shape}, but must be numbers, samples along the first axis"
        )
    return x[:, None] if x.ndim == 1 else x


def run(options: Options, progress: Progress) -> tuple[list[Result], dict[str, Any]]:
    """Return the results and the protocol that they share."""
    network = feature_network(options.features)
    samples = {name: read(getattr(options, name)) for name in ("real", "generated")}
    features = {name: _features(network, x, name, options.batch_size, progress) for name, x in samples.items()}
    protocol = network.protocol | {
        "reference": f"{len(samples['real'])} of {options.real}",
        "generated": f"{len(samples['generated'])} of {options.generated}",
    }
    results = compare(
        features["real"],
        features["generated"],
        options.metrics,
        key=seed_key(options.seed),
        num_neighbours=options.num_neighbours,
        protocol=protocol,
        progress=progress,
    )
    return results, protocol


def _features(network: FeatureNetwork, x: np.ndarray, name: str, batch_size: int, progress: Progress) -> Array:
    parts = chunks(len(x), batch_size, progress(f"features of {name}", len(x)))
    return extract(network, (x[part] for part in parts), len(x)).features


def as_json(results: Sequence[Result], protocol: dict[str, Any]) -> dict[str, Any]:
    """Return values by name, and under ``protocol`` the shared protocol and each result's own entries."""
    values, own = {}, {}
    for result in results:
        entry = result.as_dict()
        values[result.name] = entry.pop("value")
        own[result.name] = {name: entry[name] for name in entry if name not in protocol}
    return values | {"protocol": protocol | own}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = tyro.cli(Options, prog="python -m genjax.metrics", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        with progress_bars() as progress:
            results, protocol = run(options, progress)
    except (ValueError, OSError) as error:
        print(f"genjax.metrics: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(as_json(results, protocol | {"seed": options.seed})) if options.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
