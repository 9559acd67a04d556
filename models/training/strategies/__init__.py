"""The ways to train, behind one interface: by gradient steps, on frozen features, by fitting or teaching a head."""
