"""Evaluation of trained models: functions of (model, variables, data), independent of runs."""
