"""Serves segmentation with the model that the residency kit loads and unloads.

    segmentation.py     an admitted request from its body to its answer
    worker_pool.py      the kit's engine: the attached worker and the standby
    standby.py          starts the standby if host_memory.py has room
    cpu_fallback.py     answers from the CPU while the GPU is lent out
    metrics.py          what is counted besides the kit's metrics

Nothing here knows HTTP (`api`), parses a request (`intake`) or computes a mask (`worker`).
"""
