"""The persistent compilation cache: a second run of an experiment starts without compiling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX has been told where to keep them or not to."""
    config: Any = jax.config  # its options are attributes that no type checker sees
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genjax" / "xla"
    config.update("jax_compilation_cache_dir", str(cache))
    # Small programs count too: many of them together are what a start waits for.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
