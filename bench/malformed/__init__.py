"""Malformed events by the million among good ones: each a dead letter for its reason, the good ones stored."""
