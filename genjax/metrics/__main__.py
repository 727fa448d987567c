"""Compare samples from any tool: ``python -m genjax.metrics REAL.npz GENERATED.npz``.

Each file is a ``.npz`` with an array ``x``, or a ``.npy``. Samples lie along the first axis; images are (N, H, W, C),
floats in [0, 1] or uint8. Bytes 0 … 255 become [0, 1] in both files if either is uint8. The exit status is 2 if the
input is invalid, or if the files differ in layout, range or kind of number.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import tyro

from genjax.core import Array
from genjax.data.io import read_entry
from genjax.metrics.compare import COMPARISONS, DEFAULT, compare
from genjax.metrics.features import NGRAMS, FeatureNetwork, extract, feature_network
from genjax.metrics.progress import Progress, chunks, progress_bars
from genjax.metrics.result import Result, table, terminal_width
from genjax.ops.keys import seed_key
from genjax.terminal import replace_unknown_characters

Names = Annotated[tuple[str, ...], tyro.conf.arg(help=f"comparisons to compute: {', '.join(COMPARISONS)}.")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare two sets of samples.

    Attributes:
      real: reference data, a .npz with an array x or a .npy.
      generated: generated samples, in the same format.
      features: features to compare: pixels, ngrams (of tokens), classifier:DATASET or inception:WEIGHTS.safetensors.
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
    network = on_one_scale(samples, network)
    features = {name: _features(network, x, name, options.batch_size, progress) for name, x in samples.items()}
    protocol: dict[str, Any] = network.protocol | {
        "reference": f"{len(samples['real'])} of {options.real}",
        "generated": f"{len(samples['generated'])} of {options.generated}",
    }
    if network.name != NGRAMS and any(x.dtype == np.uint8 for x in samples.values()):
        protocol["bytes_divided_by"] = (network.levels or 256) - 1
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


def on_one_scale(samples: Mapping[str, np.ndarray], network: FeatureNetwork) -> FeatureNetwork:
    """Return the network, which maps bytes 0 … 255 to [0, 1] if either file holds them.

    Raises:
      ValueError: if scales differ: integers beside real numbers, or values outside [0, 1] beside bytes or beside images
        in [0, 1]; or, for a network that takes any data, if the layouts of the examples differ; or, for one of tokens,
        if they are not integers.
    """
    if network.name == NGRAMS:
        if any(x.dtype.kind not in "iu" for x in samples.values()):
            _refuse(samples, "integers in both files, because ngrams compare tokens; use features=pixels")
        return network
    if not network.requires_images:
        _check_layouts(samples["real"].shape[1:], samples["generated"].shape[1:])
    are_integers = {name: x.dtype.kind in "iu" for name, x in samples.items()}
    if any(x.dtype == np.uint8 for x in samples.values()):
        levels = network.levels or 256
        if not all(_is_within(x, levels - 1 if are_integers[name] else 1) for name, x in samples.items()):
            _refuse(samples, f"bytes 0 … {levels - 1} or real numbers in [0, 1] in both files; scale or clip one")
        return replace(network, levels=levels)
    if len(set(are_integers.values())) > 1:
        _refuse(samples, "one kind of number in both files; convert one, or use uint8 for images")
    if all(x.ndim == 4 for x in samples.values()) and len({_is_within(x, 1) for x in samples.values()}) > 1:
        _refuse(samples, "images of one range in both files; scale or clip one")
    return network


def _is_within(x: np.ndarray, top: float) -> bool:
    """Return whether values are in [0, top], up to rounding; NaN and infinity are left to the comparisons."""
    return bool(np.all(~np.isfinite(x) | ((x >= -1e-6) & (x <= top + 1e-6))))


def _check_layouts(real: tuple[int, ...], generated: tuple[int, ...]) -> None:
    if real != generated and math.prod(real) == math.prod(generated):
        raise ValueError(
            f"examples of generated have shape {generated}, but those of real have {real}; transpose or reshape one"
        )


def _refuse(samples: Mapping[str, np.ndarray], needs: str) -> NoReturn:
    values = [f"{name} holds {x.dtype} in [{float(x.min()):.4g}, {float(x.max()):.4g}]" for name, x in samples.items()]
    raise ValueError(f"{' and '.join(values)}, but a comparison needs {needs}")


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
    replace_unknown_characters()
    options = tyro.cli(Options, prog="python -m genjax.metrics", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        with progress_bars() as progress:
            results, protocol = run(options, progress)
    except (ValueError, OSError) as error:
        print(f"genjax.metrics: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(
        json.dumps(as_json(results, protocol | {"seed": options.seed}))
        if options.json
        else table(results, width=terminal_width())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
