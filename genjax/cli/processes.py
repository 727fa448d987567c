"""Processes that train together: how they find each other, and how they end when one of them is lost.

Start the same command on every host, or once for each part of a host's devices. JAX recognizes Slurm and TPU pods;
elsewhere, --coordinator names an address of the first process that all others can reach:

    srun genjax train FILE --workdir FOLDER --distributed                                     # Slurm
    gcloud compute tpus tpu-vm ssh POD --worker=all --command="genjax train FILE --workdir FOLDER --distributed"
    genjax train FILE --workdir FOLDER --coordinator HOST:PORT --num-processes 2 --process-id 0   # and 1 elsewhere

FOLDER and the data must be on a file system that all processes share. Every process writes the part of a checkpoint
that it holds; process 0 writes everything else. A process reads only those streamed examples that its own devices
train on; data sets up to 2 GiB are copied to every device. A run can resume with any number of processes and devices
that divides its batches.

A process that sends no heartbeats for 30 seconds is lost. JAX then aborts the others from C++, where Python cannot
intervene, and writes pages of logs. Therefore stderr passes through a small process, which replaces these logs by one
line that names the lost process and says how to go on. A process that fails by itself ends without waiting for the
others, which then lose it. So all processes end within 60 seconds of the first; start them again with --resume.
Processes that have not yet connected wait for up to 300 seconds.
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
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

HEARTBEAT_SECONDS = 30  # a process is lost if it sends no heartbeat for so long
GRACE_SECONDS = 10  # for others that fail alike, as for wrong flags, to say why before the end of process 0 ends them
_SERVICE_LINE = re.compile(r"[WEF]\d{4} .*(coordination_service|preemption_sync_manager|client\.h)")
_ABORT = "Terminating process because the JAX distributed service detected fatal errors"
_grace: float | None = None  # seconds to wait at the end, if this process failed and leaves others behind


@contextlib.contextmanager
def connected(coordinator: str | None, num_processes: int | None, process_id: int | None) -> Iterator[None]:
    """Within the block, let this process train with others; JAX asks the cluster for arguments that are None.

    If the block raises and there are others, stderr stays filtered until the process ends by ``leave``.

    Raises:
      ValueError: if the processes cannot be connected.
    """
    global _grace  # noqa: PLW0603 - a process has one connection
    import jax

    from genjax.runner import Interrupted
    from genjax.sharding import is_communication_error

    restore = _filter_stderr()
    try:
        _connect(coordinator, num_processes, process_id)
    except ValueError:
        restore()
        raise
    is_first, is_alone = True, False
    try:
        is_first, is_alone = jax.process_index() == 0, jax.process_count() == 1
        yield
    except Interrupted:  # as all the others are
        jax.distributed.shutdown()
        restore()
        raise
    except BaseException as error:
        if is_alone:
            restore()
            raise
        if is_communication_error(error):
            time.sleep(1.5 * HEARTBEAT_SECONDS)  # if a process is lost, JAX aborts this one meanwhile
        _grace = GRACE_SECONDS if is_first else 0.0
        raise
    jax.distributed.shutdown()
    restore()


def _connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Connect this process; ValueError if it cannot be."""
    import jax

    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes cannot be connected ({error}); pass --coordinator HOST:PORT, --num-processes and "
            "--process-id"
        ) from error


def leave(status: int) -> NoReturn:
    """Exit, but without waiting for other processes if this one failed: they may be waiting for it."""
    if _grace is not None:
        time.sleep(_grace)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _filter_stderr() -> Callable[[], None]:
    """Send stderr through a process that runs this file, and return a function that ends that."""
    process = subprocess.Popen([sys.executable, "-I", __file__], stdin=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(process.stdin.fileno(), 2)
    process.stdin.close()

    def restore() -> None:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        process.wait()

    return restore


def without_abort(lines: Iterable[str]) -> Iterator[str]:
    r"""Yield lines of stderr, but for the lines of an abort one line that names the lost process.

    Messages of this library pass.

    >>> service = "E1129 16:24:39.4 1 coordination_service.cc:1549] The following tasks are unhealthy (stopped sending"
    >>> lines = ["step 10\n", f"{service} heartbeats):\n", "1\n", f"F1129 16:24:39.6 1 client.h:80] {_ABORT}\n"]
    >>> print("".join(without_abort(lines)), end="")
    step 10
    genjax: error: process 1 was lost; start all processes again with --resume to continue
    """
    service_lines: list[str] = []
    for line in lines:
        if _SERVICE_LINE.match(line) or (service_lines and not line.startswith("genjax: ")):
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
