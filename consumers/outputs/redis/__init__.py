"""Redis as a projection of the topics."""
