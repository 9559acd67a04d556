"""Measure models: figures with intervals, cross-validation splits, significance tests and calibration."""
