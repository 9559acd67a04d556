"""Feeds become segments on Kafka, and segments become clips."""
