"""What comes before a first run: the settings file, checks of it and of the machine, services of our own."""
