"""What residents report of their GPUs, asked for again and again with one viewer's token."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable

from gpu_relay.domain.objects.resident import GpuReport, Resident, ResidentPod, report_of, resident_of
from relay_page.viewer_client import ForbiddenError, Right, ViewerClient, ViewerClientError

_EVERY_SECONDS = 10.0
_TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 64 * 1024


class ResidentReports:
    """The newest report of each resident, or why there is none."""

    def __init__(self, client: ViewerClient) -> None:
        self._client = client
        self._answers: dict[str, GpuReport | str] = {}
        """By the pod's UID; a sentence where it did not answer."""
        self.missing_right: Right | None = None
        """The right without which residents cannot be asked."""

    def resident(self, pod: ResidentPod) -> Resident:
        """Return a resident with its newest report."""
        answer = self._answers.get(pod.uid)
        if isinstance(answer, GpuReport):
            return resident_of(pod, answer, "")
        return resident_of(pod, None, answer or "")

    async def follow(
        self,
        pods: Callable[[], Iterable[ResidentPod]],
        changed: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask all running residents every ten seconds; return when the viewer may not.

        A pod can answer with any status, as the API server does: that a token is no longer accepted is for other
        requests to find, and one refusal among other answers is that pod's own.
        """
        while self.missing_right is None:
            running = [pod for pod in pods() if pod.phase == "Running"]
            refusals = await asyncio.gather(*map(self._ask, running))
            if refusals and all(refusals):
                self.missing_right = refusals[0]
            known = {pod.uid for pod in running}
            self._answers = {uid: answer for uid, answer in self._answers.items() if uid in known}
            changed()
            await sleep(_EVERY_SECONDS)

    async def _ask(self, pod: ResidentPod) -> Right | None:
        """Ask a resident; return the right that is missing, if the request was refused."""
        try:
            raw = await self._client.ask_pod(
                pod.namespace, pod.name, pod.port, "api/v1/gpu", most=_MOST_BYTES, timeout=_TIMEOUT_SECONDS
            )
            self._answers[pod.uid] = report_of(json.loads(raw))
        except ForbiddenError as error:
            self._answers[pod.uid] = str(error)
            return error.right
        except ViewerClientError as error:
            self._answers[pod.uid] = str(error)
        except ValueError as error:
            self._answers[pod.uid] = f"Its answer cannot be read: {error}"
        return None
