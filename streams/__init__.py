"""Kafka in, facts out: the Faust app, its transport, its agents and its timers."""
