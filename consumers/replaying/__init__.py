"""Recorded footage through the code that runs live: what it would have said, missed and alarmed about."""
