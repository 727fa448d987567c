"""Audio files of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genjax.arguments import check_arguments
from genjax.data import Sound


@check_arguments
def save_sounds(folder: Path, sound: Sound, x: np.ndarray) -> None:
    """Write examples (N, T) into a folder, as ``00.wav``, ``01.wav`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(x):
        sound.save(folder / f"{number:02d}{sound.suffix}", example)
