"""Commands in processes of their own, and the contents of their run folders."""

import json
import os
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
