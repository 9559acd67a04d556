"""How much is made of a segment: all of it, less where a camera is behind, nothing where nothing moves."""
