"""How good a model is: figures, intervals, folds and calibration."""
