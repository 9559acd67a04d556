"""Kafka and Redis servers for a machine that has none."""
