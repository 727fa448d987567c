"""Moment matching: generators trained to minimize a distance between samples, without an adversary."""

from genjax.moment_matching.drifting import Drifting, drift
from genjax.moment_matching.gmmn import GMMN, MNIST_BANDWIDTHS

__all__ = ["GMMN", "MNIST_BANDWIDTHS", "Drifting", "drift"]
