"""What another threshold would have done: the product's own tracker over the scores that are kept."""
