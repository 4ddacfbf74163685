"""HTTP: the routes of the resident contract, for the app of a server.

Here are the routes (`control.py`) with their schemas, the mapping of errors to problems, who may unload and load
(`auth.py`, `token_reviews.py`), and the limits on connections and bodies. Nothing here decides whether the model is
loaded or a request is admitted.
"""
