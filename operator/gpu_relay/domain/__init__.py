"""Decisions. Everything here is pure: no I/O, no clock, times are arguments.

What talks to the outside is in `clients`; what observes, decides and applies is in `controllers`.
"""
