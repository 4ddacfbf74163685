"""The resident: a SAM3 inference server that gives its GPU up when asked, and stays up meanwhile.

A room imports only the rooms below it and the modules beside them:

    api/         HTTP: the routes of inference, bodies with images
    serving/     an admitted request from its body to its answer; the workers, the standby
    intake/      processes that parse requests and decode images
    worker/      the process that holds the model and the GPU memory, and the process that encodes answers

When the model is on the GPU is decided by the residency kit (`images/common/residency`), as are the routes of control.
`__main__.py` puts the server together from `settings.py`. `errors.py`, `decode_queue.py`, `memory_files.py` and
`logs.py` are shared by the rooms; `tiny_model.py` makes a model for tests.
"""
