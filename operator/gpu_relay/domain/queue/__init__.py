"""Which waiting job is next, on which GPU, and what the status of a waiting job shows.

What happens once a job owns a GPU is decided in `domain.turn`.
"""
