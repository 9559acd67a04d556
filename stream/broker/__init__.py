"""How records move: the interface, Kafka, and its in-memory twin."""
