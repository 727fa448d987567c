"""The command line: ``genjax train | sample | evaluate | latent | list``."""
