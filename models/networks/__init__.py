"""The architectures, and how they are built by name."""
