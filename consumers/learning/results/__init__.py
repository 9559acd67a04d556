"""How good a model turned out, for people: tables on the terminal, and held-out scores in a file."""
