"""`clipline run` and `clipline status`: the processes of one machine, and how all of them are doing."""
