"""A real broker, through kafka-python 3."""
