"""Clips become scores: architectures, checkpoints, engines and training."""
