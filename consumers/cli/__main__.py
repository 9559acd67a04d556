"""`python -m consumers.cli`: the command line without the script that an install makes."""

from .main import main

main()
