"""The commands that train, evaluate and export models: the group Learn of `clipline --help`, and the list of models."""
