"""Generators trained by matching moments, without an adversary."""

from genjax.moment_matching.gmmn import GMMN

__all__ = ["GMMN"]
