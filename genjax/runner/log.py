"""The log of a run: rows of metrics, also written as TensorBoard events.

A row is one JSON object on one line of ``metrics.jsonl``. For K seeds with values m_1 … m_K of a metric it holds

    "name" = m̄ = (1/K) Σ m_k,   "name/sd" = √( Σ (m_k − m̄)² / (K − 1) ),   "name/seeds" = [m_1, …, m_K].

For a vector it holds ``"name/each"``, the mean over seeds. Every line is strict JSON (RFC 8259), which has no numbers
that are not finite: they are written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which ``read_rows``
turns back into floats.
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

    A row is in the file when ``write`` returns, so a killed process loses at most the row being written; TensorBoard
    may lose the last ten seconds. On resuming, rows after the checkpoint are dropped, and hidden in TensorBoard,
    because the run writes them again.

    Args:
      folder: run folder; None keeps the rows in memory only.
      resume_step: step of the checkpoint that the run continues from; 0 starts anew and drops all old rows.
      seeds: seed of each replica; a metric may have one value for each.
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
        """All rows in the order of writing, including those before a resumption."""
        return self._rows

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append the row of a step: metrics by name, each a scalar, or of shape (K,) with one value for each seed.

        Raises:
          ValueError: if a metric has another shape, or the name ``step``.
          OSError: if the row cannot be written.
        """
        if "step" in metrics:
            raise ValueError("a metric is named 'step', but that is the key of the step itself; rename it")
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
        """Append one row of vectors, (D,), or (K, D) for K seeds, which are averaged, as lists under ``NAME/each``.

        They are not written to TensorBoard.
        """
        row: Row = {"step": int(step)}
        for name, value in vectors.items():
            array = np.asarray(value, dtype=np.float64)
            row[name + VECTOR_SUFFIX] = (array.mean(axis=0) if array.ndim == 2 else array).tolist()
        self._append(row)

    def close(self) -> None:
        """Close the TensorBoard file; may be called twice."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _entries(self, name: str, value: np.ndarray) -> Row:
        if value.size == 1 and (value.ndim == 0 or self._num_seeds == 1):
            return {name: value.item()}
        if value.shape != (self._num_seeds,):
            raise ValueError(
                f"metric {name!r} has shape {value.shape}, but must have shape () or ({self._num_seeds},), one value "
                "per seed; average the other axes"
            )
        with np.errstate(invalid="ignore"):  # inf - inf: the sd of a diverged seed is nan
            mean, sd = np.mean(value), np.std(value, ddof=1)
        return {name: mean.item(), f"{name}/sd": sd.item(), f"{name}/seeds": value.tolist()}


def read_rows(folder: Path) -> list[Row]:
    """Read the rows of a run folder, none if nothing was written yet; an incomplete last line is left out.

    Raises:
      ValueError: if a line before the last is not a row.
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

    ``tensorboardX.SummaryWriter`` writes in its own thread. When the disk is full, that thread dies and training blocks
    forever; and two writers that start in the same second overwrite each other's file.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2

        self._proto: Any = event_pb2  # generated code, which has no static types
        folder.mkdir(parents=True, exist_ok=True)
        self._flushed_at = -math.inf
        self._writer = RecordWriter(str(folder / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"))
        self._add(file_version="brain.Event:2")
        # TensorBoard hides events from this step on in the folder's other files.
        self._add(step=purge_step, session_log={"status": self._proto.SessionLog.START})

    def write(self, row: Row) -> None:
        scalars = {name: value for name, value in row.items() if name != "step" and not isinstance(value, list)}
        values = [{"tag": name, "simple_value": value} for name, value in scalars.items()]
        self._add(step=row["step"], summary={"value": values})
        if time.monotonic() - self._flushed_at >= 10:  # a flush waits some milliseconds for the disk
            self._writer.flush()
            self._flushed_at = time.monotonic()

    def close(self) -> None:
        self._writer.close()

    def _add(self, **event: Any) -> None:
        self._writer.write(self._proto.Event(wall_time=time.time(), **event).SerializeToString())
