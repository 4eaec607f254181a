"""Predictions to numbers, with baselines and intervals."""
