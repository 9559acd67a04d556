"""What a worker leaves for the next one: up to where it has read, and all that it knows but pictures."""
