"""Logs and metrics.

What is said to users is in conditions and Events: `domain`.
"""
