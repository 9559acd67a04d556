"""Labelled footage: which file shows what, what may be learnt from it, and its pictures."""
