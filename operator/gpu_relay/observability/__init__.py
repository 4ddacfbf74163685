"""Logs and metrics.

Messages for users are in conditions and Events: `domain`.
"""
