"""How Hypothesis runs here: without a deadline, since a busy machine says nothing about the code."""

from hypothesis import settings

settings.register_profile("quality", deadline=None, max_examples=40)
settings.load_profile("quality")
