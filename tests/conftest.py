"""Settings of all tests."""

from hypothesis import settings

# No deadline: an example that takes longer than 200 ms says something about the machine's load only.
settings.register_profile("search", deadline=None)
# The suite draws the same examples each time, so that it fails because of a change, and not by chance.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")
