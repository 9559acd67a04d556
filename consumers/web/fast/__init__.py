"""The fast view of a camera: each segment on its way to players as soon as the broker has it."""

from .feed import FastFeed, FastFootage
from .fragments import Fragment, Fragments

__all__ = ["FastFeed", "FastFootage", "Fragment", "Fragments"]
