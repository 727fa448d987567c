"""The persistent compilation cache: a second run of an experiment starts without compiling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def enable_compilation_cache() -> None:
    """Cache compiled programs in the user's cache folder, unless JAX has another one or its cache is disabled."""
    config: Any = jax.config  # its options are attributes unknown to type checkers
    if config.jax_compilation_cache_dir is not None or not config.jax_enable_compilation_cache:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genjax" / "xla"
    config.update("jax_compilation_cache_dir", str(cache))
    # Small programs too: a start compiles many of them.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
