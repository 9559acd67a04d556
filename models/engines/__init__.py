"""What runs a model: the engines, the choice between them, and exported files."""
