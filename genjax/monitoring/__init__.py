"""Monitoring of training: measurements, checks and warnings."""
