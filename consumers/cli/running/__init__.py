"""The commands that run something: the group Run of `clipline --help`."""
