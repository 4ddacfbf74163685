"""The client of trainers: it reads the progress of a training."""

from typing import Any

import aiohttp

from gpu_relay.clients.http import UnavailableError, call
from gpu_relay.domain.objects.pod import TrainingPod

PORT = 8080
_TIMEOUT = 1.0


async def progress(session: aiohttp.ClientSession, pod: TrainingPod) -> dict[str, Any] | None:
    """Return `/progress` of a running training pod; None if it has none yet, or does not respond."""
    if pod.ip is None or pod.phase != "Running":
        return None
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    try:
        return await call(session, "GET", f"http://{host}:{PORT}/progress", timeout=_TIMEOUT)
    except UnavailableError:
        return None
