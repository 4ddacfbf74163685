"""GPU Relay: one GPU, two masters."""
