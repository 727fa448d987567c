"""Commands in processes of their own, and the contents of their run folders."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

TINY = Path(__file__).parent / "runner" / "experiments" / "tiny.py"
ROOT = Path(__file__).parents[1]
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # processes of tests compile longer than they compute


def start(*arguments, devices=1, **environment):
    """Start the command line in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "genjax", *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **QUICK, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finish(process, timeout=300):
    """Wait for a process and return (status, stdout, stderr)."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def losses(folder):
    """Return the training losses of a run folder, by step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def free_address():
    """Return an address on this machine that no program uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def run_python(program, *arguments, devices=2):
    """Start a program in a process of its own."""
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **flags, **QUICK},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def start_together(*arguments, devices=1, program=None):
    """Start the command line in two processes that train together, or a program that takes the same arguments."""
    coordinator = free_address()
    connection = ("--coordinator", coordinator, "--num-processes", 2, "--process-id")
    if program is not None:
        return [run_python(program, *arguments, *connection, index, devices=devices) for index in range(2)]
    return [start(*arguments, *connection, index, devices=devices) for index in range(2)]
