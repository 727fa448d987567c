"""Requests that wait together are computed by one call, padded to one of a few compiled sizes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Rows = Mapping[str, np.ndarray]


class Busy(Exception):  # noqa: N818 - an answer to a request, not an error of the server
    """Raised for rows that would wait behind too many others."""


class _Part(NamedTuple):
    """Rows of one request that fit into one call."""

    rows: Rows
    count: int
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Computes rows by a program, one call after the other; a full one waits at the executor while another is computed.

    Args:
      program: function from inputs (b, ...) by name to outputs (b, ...).
      sizes: numbers of rows that calls have, in ascending order.
      max_waiting: number of rows that may wait at once.
      executor: executor of one thread, which calls the program.
      called: function that is called with the size of each call.
    """

    def __init__(
        self,
        program: Callable[..., Any],
        sizes: Sequence[int],
        max_waiting: int,
        executor: Executor,
        called: Callable[[int], None],
    ) -> None:
        self._program, self._sizes, self._max_waiting = program, tuple(sizes), max_waiting
        self._executor, self._called = executor, called
        self._parts: deque[_Part] = deque()
        self._changed = asyncio.Event()
        self._num_calls = 0  # at the executor
        self.waiting = 0

    async def compute(self, rows: Rows, count: int) -> np.ndarray:
        """Return the outputs of rows, (count, ...); raise Busy if too many wait."""
        if self.waiting + count > self._max_waiting:
            raise Busy(f"{self.waiting} rows are waiting, and {count} more exceed {self._max_waiting}; try again later")
        loop, results = asyncio.get_running_loop(), []
        for start in range(0, count, self._sizes[-1]):
            part = {name: value[start : start + self._sizes[-1]] for name, value in rows.items()}
            results.append(loop.create_future())
            self._parts.append(_Part(part, min(self._sizes[-1], count - start), results[-1]))
        self.waiting += count
        self._changed.set()
        outputs = await asyncio.gather(*results)
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    async def run(self) -> None:
        """Compute what arrives, forever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._parts and self._may_call():
                parts = self._take()
                if parts:
                    rows = [part.rows for part in parts]
                    call = asyncio.get_running_loop().run_in_executor(self._executor, self._call, rows)
                    self._num_calls += 1
                    call.add_done_callback(partial(self._finish, parts))

    def _may_call(self) -> bool:
        """Return whether to start a call: behind a running one, only a full one, which gains nothing by waiting."""
        return self._num_calls == 0 or (self._num_calls == 1 and self.waiting >= self._sizes[-1])

    def _finish(self, parts: Sequence[_Part], call: asyncio.Future[np.ndarray]) -> None:
        """Hand out the outputs of a call, or its error: whatever a program raises is an answer to its requests."""
        self._num_calls -= 1
        self._changed.set()
        if call.cancelled():
            return
        start, error = 0, call.exception()
        for part in parts:
            if not part.result.done() and error is not None:
                part.result.set_exception(error)
            elif not part.result.done():
                part.result.set_result(call.result()[start : start + part.count])
            start += part.count

    def _take(self) -> list[_Part]:
        """Return parts that fit into one call, without those of requests that have gone."""
        parts, total, limit = [], 0, self._size_of_call()
        while self._parts and total + self._parts[0].count <= limit:
            part = self._parts.popleft()
            self.waiting -= part.count
            if not part.result.done():
                parts.append(part)
                total += part.count
        return parts

    def _size_of_call(self) -> int:
        """Return the size of the next call: what waits, padded if that fills more than half of it, or a part."""
        first = self._parts[0].count if self._parts else 1
        padded = next((size for size in self._sizes if size >= self.waiting), self._sizes[-1])
        full = max((size for size in self._sizes if size <= self.waiting), default=padded)
        return next(
            size for size in self._sizes if size >= first and size >= (padded if 2 * self.waiting > padded else full)
        )

    def _call(self, parts: Sequence[Rows]) -> np.ndarray:
        """Return the outputs of all parts; further rows repeat the last one."""
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        count = len(next(iter(rows.values())))
        size = next(size for size in self._sizes if size >= count)
        padded = {name: np.concatenate([value, value[-1:].repeat(size - count, 0)]) for name, value in rows.items()}
        self._called(size)
        return np.asarray(self._program(**padded))[:count]
