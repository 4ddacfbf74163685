"""Settings of all tests."""

from hypothesis import settings

# Hypothesis fails a test whose example takes longer than 200 ms, which says something about the machine's load only.
settings.register_profile("no-deadline", deadline=None)
if settings.get_current_profile_name() == "default":  # the mutants load a profile of their own
    settings.load_profile("no-deadline")
