"""``python -m genjax`` is the command line."""

from genjax.cli.main import main

main()
