"""The plan of a turn: what happens next to a GPU that a job owns, or that goes back to its resident.

Who gets a GPU next is decided in `domain.queue`.
"""
