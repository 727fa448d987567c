"""Output on terminals whose encoding lacks characters of tables and texts."""

from __future__ import annotations

import io
import sys


def replace_unknown_characters() -> None:
    """Let stdout and stderr write "?" for characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
