"""How a worker is doing: accounts of cameras, measures, and what views and states are told."""
