"""The residency kit: what an inference server needs to be a resident, which gives its GPU up when asked.

    coordinator.py      the order of loads and unloads; reconcile() ends expired holds and reloads
    engine.py           what the kit needs of the server: it takes the GPU with its model, and lets go of it
    load_permission.py  whether the model may be loaded: no hold, and enough GPU memory measured free
    loader.py           load_once(): prepare, attach, probe
    unloader.py         drain_and_unload(): drain, end, measure
    idle_unload.py      unloads a model that gets no requests; reload.py says when to load without a request
    admission.py        what admits a request to the GPU; request_quota.py counts requests, in_flight.py those served
    hold.py             the rules of holds and fences (pure); hold_keeper.py applies them, hold_file.py stores them
    metrics.py          Prometheus metrics of all this; logs.py, settings.py, linux.py
    api/                the HTTP routes of the contract (docs/resident-contract.md), errors, tokens and limits

Nothing outside `api` knows HTTP.
"""
