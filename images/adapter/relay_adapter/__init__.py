"""The relay adapter: it makes any inference engine a resident, which gives its GPU up when asked.

    gate.py             which requests need the GPU, which pass at any time, and which are the adapter's own
    proxy.py            forwards requests to the engine, as streams; websockets.py does so for WebSockets,
                        and bounded_server.py limits connections
    profile.py          how an engine is unloaded and loaded, from a YAML file; profiles/ has those of known engines
    calls.py            the calls of a profile to the engine
    engine.py           an engine in a container of its own, by its calls; process.py, one that the adapter runs
    app.py              the routes of control; server.py puts all together from `settings.py`

When the model is on the GPU is decided by the residency kit (`images/common/residency`).
"""
