"""Pictures of events: made from footage on the topics, by a process of its own, and kept in Redis for a while."""
