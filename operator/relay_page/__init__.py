"""The page: GPUs, queue and training jobs, read with the viewer's own token. It has no rights of its own."""
