"""What is read of coded pictures themselves: where decoding can begin, and in which order they are shown."""
