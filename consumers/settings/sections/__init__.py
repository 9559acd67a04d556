"""The sections of the settings, their keys and what may stand there."""
