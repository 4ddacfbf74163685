"""The resident: a SAM3 inference server that gives its GPU up when asked, and stays up meanwhile.

A room imports only the rooms below it and the modules beside them:

    api/         HTTP: routes, schemas, problems, authentication, limits on connections and bodies
    residency/   when the model is on the GPU: holds, admission, load, unload, standby
    intake/      processes that parse requests and decode images
    worker/      the process that holds the model and the GPU memory, and the process that encodes answers

`__main__.py` puts the server together from `settings.py`. `errors.py`, `fair_queue.py`, `memory_files.py` and `logs.py`
are shared by the rooms; `tiny_model.py` makes a model for tests.
"""
