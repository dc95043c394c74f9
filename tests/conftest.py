"""The same examples in every run, and no test fails for being slow; `--hypothesis-profile=search` draws new ones."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("repeatable")
