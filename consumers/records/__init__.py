"""What travels on the topics: each record with its encoding."""
