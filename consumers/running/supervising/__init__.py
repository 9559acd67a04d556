"""Keeping the processes of `clipline run` running: those that die, and those that hang."""
