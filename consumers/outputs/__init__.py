"""Where results go, and who reads them: Redis, subscribers, evidence clips."""
