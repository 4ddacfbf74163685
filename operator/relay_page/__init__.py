"""The page: GPUs, queue and trainings, read with the viewer's own token. It has no rights of its own."""
