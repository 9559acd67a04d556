"""Training, evaluating and exporting models on labelled footage."""
