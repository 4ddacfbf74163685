"""When the model is on the GPU, and which requests it serves there.

    coordinator.py      the order of loads and unloads; reconcile() ends expired holds and reloads
    load_permission.py  whether the model may be loaded: no hold, and enough GPU memory measured free
    loader.py           load_once(): prepare, attach, probe
    unloader.py         drain_and_unload(): drain, end the worker, measure
    admission.py        what admits a request to the GPU; request_quota.py counts requests, in_flight.py those served
    segmentation.py     an admitted request from its body to its answer
    hold.py             the rules of holds and fences (pure); hold_keeper.py applies them, hold_file.py stores them
    worker_pool.py      the attached worker and the standby; standby.py starts the standby if host_memory.py has room
    cpu_fallback.py     answers from the CPU while the GPU is lent out

Nothing here knows HTTP (`api`), parses a request (`intake`) or computes a mask (`worker`).
"""
