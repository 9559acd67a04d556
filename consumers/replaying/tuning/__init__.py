"""Find thresholds with the fewest misses for a given false-alarm budget."""
