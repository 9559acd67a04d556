"""Match replayed events with the truth, and compute every figure."""
