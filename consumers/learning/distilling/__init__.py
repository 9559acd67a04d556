"""`clipline distill`: a student learns from what teachers say of footage."""
