"""Reconcilers: each observes, asks `domain` for a decision, and applies it.

What knows nothing of GPUs and jobs is in `controllers.runtime`.
"""
