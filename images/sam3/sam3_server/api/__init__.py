"""HTTP: what a client sends and is answered.

Here are the routes of inference (`inference.py`) and the app put together (`app.py`); the routes of control are those
of the residency kit. Nothing here decides whether the model is loaded or a request is admitted. Bodies with images are
received here, and parsed in `intake`.
"""
