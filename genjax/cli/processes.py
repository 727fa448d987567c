"""Processes that train together: how they find each other, and how they end when one of them is lost.

JAX notices a process that sends no heartbeats, and aborts the others from C++ with pages of logs, where Python can do
nothing. Therefore a small process passes on what a training process writes to stderr, except these logs: it writes one
line instead, which names the lost process and says how to go on.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

HEARTBEAT_SECONDS = 30  # a process is lost if it sends no heartbeat for so long
_SERVICE_LINE = re.compile(r"[WEF]\d{4} .*(coordination_service|preemption_sync_manager|client\.h)")
_ABORT = "Terminating process because the JAX distributed service detected fatal errors"


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Connect the processes of distributed training; JAX asks the cluster for arguments that are None.

    Raises:
      ValueError: if they cannot be connected.
    """
    import jax

    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes cannot be connected ({error}); pass --coordinator HOST:PORT, --num-processes and "
            "--process-id"
        ) from error


@contextlib.contextmanager
def name_lost_process() -> Iterator[None]:
    """Within the block, let each of several processes end with a line that names the lost one."""
    import jax

    if jax.process_count() == 1:
        yield
        return
    with _filtered_stderr():
        try:
            yield
        except Exception as error:
            if _is_communication_error(error, jax.errors.JaxRuntimeError):
                time.sleep(2 * HEARTBEAT_SECONDS)  # if a process is lost, JAX aborts this one meanwhile
            raise


def _is_communication_error(error: BaseException | None, kind: type[Exception]) -> bool:
    """Return whether an error or one of its causes may come from the communication between processes."""
    if error is None or isinstance(error, kind):
        return error is not None and "RESOURCE_EXHAUSTED" not in str(error)
    return _is_communication_error(error.__cause__ or error.__context__, kind)


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Within the block, send stderr through a process that runs this file."""
    command = [sys.executable, "-I", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin is not None
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def without_abort(lines: Iterable[str]) -> Iterator[str]:
    r"""Yield lines of stderr, but for the lines of an abort one line that names the lost process.

    >>> service = "E1129 16:24:39.4 1 coordination_service.cc:1549] The following tasks are unhealthy (stopped sending"
    >>> lines = ["step 10\n", f"{service} heartbeats):\n", "1\n", f"F1129 16:24:39.6 1 client.h:80] {_ABORT}\n"]
    >>> print("".join(without_abort(lines)), end="")
    step 10
    genjax: error: process 1 was lost; start all processes again with --resume to continue
    """
    service_lines: list[str] = []
    for line in lines:
        if service_lines or _SERVICE_LINE.match(line):
            service_lines.append(line)
        else:
            yield line
    text = "".join(service_lines)
    if _ABORT not in text:
        yield text
        return
    match = re.search(r"heartbeats\):\s*(\d+)|Task (\d+) heartbeat timeout", text)
    number = (match[1] or match[2]) if match else 0  # the service names all but the first process, which runs it
    yield f"genjax: error: process {number} was lost; start all processes again with --resume to continue\n"


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):  # a scheduler sends them to all processes
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    for text in without_abort(io.TextIOWrapper(sys.stdin.buffer, "utf-8", "replace")):
        sys.stderr.write(text)
        sys.stderr.flush()
