"""What agents and workers say of themselves, and of cameras."""
