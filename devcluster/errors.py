"""The one error of the local cluster."""


class ClusterError(RuntimeError):
    """Something the local cluster needs is missing or has failed; the message says what, and what to change."""
