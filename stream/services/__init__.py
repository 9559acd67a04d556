"""Kafka and Redis servers for a machine that has none."""

from .kafka import ApacheBroker, BrokerKind, EmbeddedBroker, broker
from .processes import Service
from .redis import EmbeddedRedis

__all__ = ["ApacheBroker", "BrokerKind", "EmbeddedBroker", "EmbeddedRedis", "Service", "broker"]
