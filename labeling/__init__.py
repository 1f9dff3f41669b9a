"""What we ask people: which predictions to label, in which batches, and whether what comes back is good."""
