"""The command line: ``genjax train | sample | evaluate | export | list`` and other commands."""
