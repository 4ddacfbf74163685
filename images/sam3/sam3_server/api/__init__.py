"""HTTP: what a client sends and is answered.

Here are the routes (`control.py`, `inference.py`), the app put together (`app.py`), the schemas of the control routes,
the mapping of errors to problems, who may unload and load (`auth.py`, `token_reviews.py`), and the limits on
connections and bodies. Nothing here decides whether the model is loaded or a request is admitted: `residency` does.
Bodies with images are received here, and parsed in `intake`.
"""
