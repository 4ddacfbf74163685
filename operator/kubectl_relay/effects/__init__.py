"""What talks to the API server."""

from kubectl_relay.deferred_imports import defer_unused

defer_unused()
