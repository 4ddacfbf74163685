"""Which waiting job is next, on which GPU, and what a waiting job is shown.

What happens once a job owns a GPU is decided in `domain.turn`.
"""
