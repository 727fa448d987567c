"""What a run writes about itself: rows of metrics, and the same numbers as TensorBoard events.

A row is one JSON object on one line of ``metrics.jsonl``. For K seeds with values m_1 … m_K of a metric it holds

    "name" = m̄ = (1/K) Σ m_k,   "name/sd" = √( Σ (m_k − m̄)² / (K − 1) ),   "name/seeds" = [m_1, …, m_K].

Of a vector it holds ``"name/each"``, the mean over seeds. Every line is strict JSON (RFC 8259), which has no word for
what is not finite: such numbers are written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, and
``read_rows`` turns them back into floats.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.io import replace_file
from genjax.metrics.rows import VECTOR_SUFFIX, Row

FILE_NAME = "metrics.jsonl"
_STRINGS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricLog:
    """Rows of metrics in memory, in ``metrics.jsonl`` and as TensorBoard events.

    A row is in the file when ``write`` returns, so that a kill at any moment costs at most the row being written;
    TensorBoard may lose the last ten seconds. On resuming, the rows after the checkpoint are dropped and hidden from
    TensorBoard, because the run will write them again.

    Args:
      folder: the run folder, or None to keep the rows in memory only.
      resume_step: the checkpoint's step that the run continues from. 0 starts anew: no old row stays.
      seeds: one entry for each replica that trains; a metric may have one value for each.
    """

    def __init__(self, folder: Path | None, *, resume_step: int = 0, seeds: tuple[int, ...] = (0,)) -> None:
        self._folder = folder
        self._num_seeds = len(seeds)
        self._purge_step = resume_step + 1 if resume_step else 0
        self._events: _TensorBoardEvents | None = None
        self._rows: list[Row] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._rows = [row for row in read_rows(folder) if row["step"] < self._purge_step]
            replace_file(folder / FILE_NAME, "".join(map(_line, self._rows)).encode())

    @property
    def rows(self) -> list[Row]:
        """All rows in the order they were written, those before the resumption included."""
        return self._rows

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one row.

        Args:
          step: number of finished training steps.
          metrics: a scalar, or an array of shape (K,) with one value for each of the K seeds, by name.

        Raises:
          ValueError: for a metric of another shape, or one named ``step``.
          OSError: when the disk does not take the row.
        """
        if "step" in metrics:
            raise ValueError("a metric is named 'step', which is the row's own key; give it another name")
        row: Row = {"step": int(step)}
        for name, value in metrics.items():
            row |= self._entries(name, np.asarray(value, dtype=np.float64))
        self._append(row)
        if self._folder is not None:
            if self._events is None:
                self._events = _TensorBoardEvents(self._folder / "tensorboard", purge_step=self._purge_step)
            self._events.write(row)

    def _append(self, row: Row) -> None:
        self._rows.append(row)
        if self._folder is not None:
            with (self._folder / FILE_NAME).open("a", encoding="utf-8") as file:
                file.write(_line(row))

    def write_vectors(self, step: int, vectors: Mapping[str, Any]) -> None:
        """Append one row of vectors, as lists under ``NAME/each``; TensorBoard, which has no place for them, gets none.

        Args:
          step: number of finished training steps.
          vectors: shape (D,), or (K, D) for K seeds, whose mean is written, by name.
        """
        row: Row = {"step": int(step)}
        for name, value in vectors.items():
            array = np.asarray(value, dtype=np.float64)
            row[name + VECTOR_SUFFIX] = (array.mean(axis=0) if array.ndim == 2 else array).tolist()
        self._append(row)

    def close(self) -> None:
        """Finish the TensorBoard file. Closing twice does no harm."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _entries(self, name: str, value: np.ndarray) -> Row:
        if value.size == 1 and (value.ndim == 0 or self._num_seeds == 1):
            return {name: value.item()}
        if value.shape != (self._num_seeds,):
            raise ValueError(
                f"metric {name!r} has shape {value.shape}, but a row takes () or ({self._num_seeds},) for "
                f"{self._num_seeds} seed(s); average the other axes first"
            )
        with np.errstate(invalid="ignore"):  # inf - inf: the sd of a diverged seed is nan
            mean, sd = np.mean(value), np.std(value, ddof=1)
        return {name: mean.item(), f"{name}/sd": sd.item(), f"{name}/seeds": value.tolist()}


def read_rows(folder: Path) -> list[Row]:
    """Read the rows of a run folder; a last line torn by a kill is left out.

    Returns:
      One dict a row, numbers as floats (also those not finite); an empty list where nothing was written yet.

    Raises:
      ValueError: when a line before the last is no JSON object.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append({"step": row["step"]} | {name: _from_json(value) for name, value in row.items()})
        except (ValueError, TypeError, KeyError) as error:
            if number < len(lines):
                raise ValueError(
                    f"{path} line {number} is {line[:40]!r}, not a row of metrics; delete that line"
                ) from error
    return rows


def _line(row: Row) -> str:
    return json.dumps({name: _to_json(value) for name, value in row.items()}, allow_nan=False) + "\n"


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    return _STRINGS.get(value, value) if isinstance(value, str) else value


class _TensorBoardEvents:
    """One TensorBoard event file, written in the caller's thread.

    ``tensorboardX.SummaryWriter`` writes in a thread of its own, which dies when the disk is full and then blocks the
    training for ever, and two of them started within one second overwrite each other's file.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2

        self._proto: Any = event_pb2  # generated code, which has no static types
        folder.mkdir(parents=True, exist_ok=True)
        self._flushed_at = -math.inf
        self._writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"))
        self._add(file_version="brain.Event:2")
        # TensorBoard hides what the folder's other files hold at this step and later.
        self._add(step=purge_step, session_log={"status": self._proto.SessionLog.START})

    def write(self, row: Row) -> None:
        scalars = {name: value for name, value in row.items() if name != "step" and not isinstance(value, list)}
        values = [{"tag": name, "simple_value": value} for name, value in scalars.items()]
        self._add(step=row["step"], summary={"value": values})
        if time.monotonic() - self._flushed_at >= 10:  # it waits for the disk, some milliseconds
            self._writer.flush()
            self._flushed_at = time.monotonic()

    def close(self) -> None:
        self._writer.close()

    def _add(self, **event: Any) -> None:
        self._writer.write(self._proto.Event(wall_time=time.time(), **event).SerializeToString())
