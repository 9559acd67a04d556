"""What lies on the server's disk for people to read: models with their cards, and reports in a folder that the settings
name.
"""
