"""Feeds become segments: files, folders and cameras are read, cut at keyframes and handed over."""
