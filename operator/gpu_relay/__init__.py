"""GPU Relay: a Kubernetes operator that shares one GPU between SAM3 inference and YOLO training."""

__version__ = "0.1.0"
