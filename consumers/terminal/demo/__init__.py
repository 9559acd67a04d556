"""`clipline demo`: the whole path on this machine."""
