"""What listens: the worker, the tracker, the sinks and the command line."""

__version__ = "0.1.0"
