"""Weightings: the training loss of an example at a time. Every weighting is a ``Weighting``."""

from genjax.diffusion.weightings.base import Errors, Weighting
from genjax.diffusion.weightings.losses import MinSNR, Output, Simple, VariationalBound

__all__ = ["Errors", "MinSNR", "Output", "Simple", "VariationalBound", "Weighting"]
