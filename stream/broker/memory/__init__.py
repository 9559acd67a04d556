"""The in-memory twin of a Kafka broker, for tests that need none."""
