"""What the numbers mean: outcomes, distances, intervals, sketches, drift. Pure: no I/O, clock or globals."""
