"""The classifying worker: from segments to predictions and events."""
