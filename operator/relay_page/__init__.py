"""The page: GPUs, queue and training jobs, read with the viewer's own token. It has no rights of its own.

Here are the HTTP server (`app.py`, `server.py`), the live feed (`feed.py`), the client that reads the cluster for a
viewer (`viewer_client.py`), what the page shows as JSON (`gpus.py`, `jobs.py`), and the page itself (`static`). Which
job owns a GPU, the queue and the history come from `gpu_relay.overview`, as for `kubectl relay`.
"""
