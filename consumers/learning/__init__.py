"""The commands that work on labelled footage: train, evaluate, compare, export; and the list of models."""
