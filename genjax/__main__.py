"""``python -m genjax`` is the command line."""

from genjax.cli import main

main()
