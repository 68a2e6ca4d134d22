"""For all tests: a machine that is busy is no failure."""

from hypothesis import settings

settings.register_profile("mixstack", deadline=None)
settings.load_profile("mixstack")
