"""Benchmarks and campaigns: each prints its progress to standard error and one JSON object at the end."""
