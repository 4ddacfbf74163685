"""GPU Relay: one GPU, two masters."""

__version__ = "0.1.0"
