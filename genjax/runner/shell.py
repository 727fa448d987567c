"""Commands in messages, which can be pasted into the shell that the process was started from."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def genjax_command(*arguments: object) -> str:
    """Return a command of genjax with quoted arguments, such as ``.venv/bin/genjax sample 'my runs/vae'``."""
    return shlex.join([*_program(), *map(str, arguments)])


def _program() -> list[str]:
    """Return the words that start the genjax of this Python: the shortest that the shell finds."""
    script = Path(sys.executable).parent / "genjax"
    if not script.is_file():
        return [sys.executable or "python", "-m", "genjax"]
    on_path = shutil.which("genjax")  # may belong to another environment, or to another package
    if on_path is not None and Path(on_path).resolve() == script.resolve():
        return ["genjax"]
    relative = os.path.relpath(script)
    return [relative if len(relative) < len(str(script)) else str(script)]
