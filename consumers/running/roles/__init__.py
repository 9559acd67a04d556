"""What the processes do that `clipline run` starts, a module for each role."""
