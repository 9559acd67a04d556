"""Packets become segments: where they are cut, what each of them tells, and the bytes that it is written as."""
