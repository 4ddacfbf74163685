# SPDX-License-Identifier: AGPL-3.0-only
"""Renew the resident's hold while the process lives, so that the resident stays unloaded even without the operator."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request

from yolo_trainer.job.spec import Hold

log = logging.getLogger(__name__)

SHARE_OF_TTL = 3
"""A hold is renewed every third of its ttl, so two renewals may fail before it expires."""
REQUEST_TIMEOUT_SECONDS = 5.0

# In-cluster addresses: no proxy from the environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HoldRenewer:
    """A background thread that renews one hold until it is stopped or the process ends."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hold-renewal", daemon=True)
        self._failing = False
        self.renewed = 0
        """How many renewals the resident accepted."""
        self.failed = 0
        """How many it refused or never received."""

    def start(self) -> None:
        """Renew immediately, then every third of the ttl."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        self._stopped.set()
        self._thread.join(REQUEST_TIMEOUT_SECONDS)

    def _run(self) -> None:
        while True:
            self._renew()
            if self._stopped.wait(self._hold.ttl_seconds / SHARE_OF_TTL):
                return

    def _renew(self) -> None:
        body = json.dumps({"fence": self._hold.fence, "renew_key": self._hold.renew_key}).encode()
        url = f"{self._hold.url.rstrip('/')}/api/v1/hold/renew"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - http(s) by its type
        timeout = min(REQUEST_TIMEOUT_SECONDS, self._hold.ttl_seconds / SHARE_OF_TTL)
        try:
            with _opener.open(request, timeout=timeout) as response:
                response.read()
        except (OSError, ValueError) as error:
            self._on_failure(error)
        else:
            self._on_success()

    def _on_success(self) -> None:
        self.renewed += 1
        if self._failing:
            log.info("The hold on the resident is renewed again")
        self._failing = False

    def _on_failure(self, error: OSError | ValueError) -> None:
        self.failed += 1
        if not self._failing:
            log.warning(
                "The hold on the resident (fence %d) could not be renewed: %s; trying again every %.0f s",
                self._hold.fence,
                _cause(error),
                self._hold.ttl_seconds / SHARE_OF_TTL,
            )
        self._failing = True


def _cause(error: OSError | ValueError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code} {error.reason}: {error.read(500).decode(errors='replace')}"
    return str(getattr(error, "reason", error))
