"""Fuzzing of the SAM3 server: mutated images and requests over HTTP. `python -m tests.fuzz` runs a long campaign."""
