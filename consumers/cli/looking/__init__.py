"""The commands that show what there is: the group Look of `clipline --help`."""
