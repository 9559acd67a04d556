"""The commands that judge a model: the group Judge of `clipline --help`."""
