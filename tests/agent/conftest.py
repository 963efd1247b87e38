"""Settings that all tests of the agent share."""

from hypothesis import settings

# The default deadline of 200 ms an example fails on a machine that is busy with something else, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
