"""Kafka and Redis servers for a machine that has none."""

from .joining import Condition
from .kafka import ApacheBroker, EmbeddedBroker
from .keeper import remove_abandoned, signal_at_parents_end
from .objects import Kept
from .ports import holder
from .processes import HOST, Plan, Service, is_taken
from .redis import EmbeddedRedis

__all__ = [
    "HOST",
    "ApacheBroker",
    "Condition",
    "EmbeddedBroker",
    "EmbeddedRedis",
    "Kept",
    "Plan",
    "Service",
    "holder",
    "is_taken",
    "remove_abandoned",
    "signal_at_parents_end",
]
