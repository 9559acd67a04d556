"""Coming in: by a password or at a provider, and going out again."""
