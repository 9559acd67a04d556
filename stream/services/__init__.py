"""Kafka and Redis servers for a machine that has none."""

from .kafka import ApacheBroker, EmbeddedBroker
from .objects import Kept
from .ports import holder
from .processes import Service, is_taken
from .redis import EmbeddedRedis

__all__ = [
    "ApacheBroker",
    "EmbeddedBroker",
    "EmbeddedRedis",
    "Kept",
    "Service",
    "holder",
    "is_taken",
]
