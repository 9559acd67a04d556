"""What operators see of a process: its port, its measures, its spans."""
