"""Metrics: pure, mergeable, and saying what they are."""
