"""Checks the laws from outside: by the API server's own watches, the residents' ledgers, and what operators order.

Objects of one cluster share one count of versions, so Lease and pod histories can be laid side by side exactly.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.chaos.api import ApiError, Object
from tests.chaos.proxy import Call
from tests.chaos.stage import Stage
from tests.support.scripted_resident import ScriptedResident

_TERMINAL = {"Succeeded", "Failed"}
_HANDOVER = 0.5
"""Seconds in which an order of a former leader may have been on its way."""


@dataclass(frozen=True)
class _Owner:
    version: int
    holder: str
    fence: int


@dataclass(frozen=True)
class _Birth:
    version: int
    name: str
    gpu: str
    fence: int
    job_uid: str


@dataclass
class Observer:
    """Watches one stage; `violations` are sentences."""

    stage: Stage
    violations: list[str] = field(default_factory=list)
    _owners: dict[str, list[_Owner]] = field(default_factory=dict)
    _births: list[_Birth] = field(default_factory=list)
    _live: dict[str, Object] = field(default_factory=dict)
    _leaders: list[tuple[float, str]] = field(default_factory=list)
    _orders: list[tuple[float, Call]] = field(default_factory=list)
    _checks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        for proxy in self.stage.proxies.values():
            proxy.on_call = self._called
        for number, resident in enumerate(self.stage.residents):
            resident.before_load = partial(self._may_load, resident, loop)
            self.stage.proxies[f"resident-{number}"].on_call = partial(self._asked, resident)
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.stage.system}/leases"
        pods = f"/api/v1/namespaces/{self.stage.name}/pods"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(leases, self._lease_changed))
            tasks.create_task(self._watch(pods, self._pod_changed, labelSelector="gpurelay.dev/gpu"))

    async def _watch(self, path: str, changed: Callable[[str, Object], None], **query: str) -> None:
        listed = await self.stage.api.get(path, **query)
        async for kind, raw in self.stage.api.watch(path, listed["metadata"]["resourceVersion"], **query):
            changed(kind, raw)

    # while it runs

    def _lease_changed(self, kind: str, raw: Object) -> None:
        name, spec = raw["metadata"]["name"], raw["spec"]
        if kind == "DELETED":
            return
        if name == "gpu-relay-leader":
            self._leaders.append((time.monotonic(), spec.get("holderIdentity", "").split("_")[0]))
            return
        owner = _Owner(int(raw["metadata"]["resourceVersion"]), spec["holderIdentity"], spec["leaseTransitions"])
        history = self._owners.setdefault(name, [])
        if history and owner.fence < history[-1].fence:
            self._violated(f"the fence of {name} fell from {history[-1].fence} to {owner.fence}")
        if history and owner.holder != history[-1].holder and "resident" not in {owner.holder, history[-1].holder}:
            self._violated(f"{name} went from {history[-1].holder} to {owner.holder} directly")
        history.append(owner)

    def _pod_changed(self, kind: str, raw: Object) -> None:
        uid = raw["metadata"]["uid"]
        if kind == "ADDED":
            self._born(raw)
        if kind == "DELETED" or raw["status"].get("phase") in _TERMINAL:
            self._live.pop(uid, None)
        else:
            self._live[uid] = raw

    def _born(self, pod: Object) -> None:
        """Laws 1 and 2, at the birth of a pod."""
        meta, labels = pod["metadata"], pod["metadata"]["labels"]
        birth = _Birth(
            int(meta["resourceVersion"]), meta["name"], labels["gpurelay.dev/gpu"],
            int(labels["gpurelay.dev/fence"]), labels["gpurelay.dev/job-uid"],
        )  # fmt: skip
        self._births.append(birth)
        others = [other["metadata"]["name"] for other in self._live.values() if _gpu(other) == birth.gpu]
        if others:
            self._violated(f"{birth.name} was created beside {others}")
        resident = next((each for each in self.stage.residents if each.uuid.lower() == birth.gpu), None)
        if resident is None:
            self._violated(f"{birth.name} was created for GPU {birth.gpu}, which has no resident")
            return
        report = resident.report()
        if resident.loaded or report["free_mib"] < 10_240:
            self._violated(
                f"{birth.name} was created while {report['free_mib']} MiB are free, loaded {resident.loaded}"
            )
        hold = report["hold"]
        if not self.stage.restarted and (hold is None or hold["fence"] != birth.fence):
            self._violated(f"{birth.name} was created under fence {birth.fence}, the resident's hold is {hold}")

    def _may_load(self, resident: ScriptedResident, loop: asyncio.AbstractEventLoop) -> None:
        """Law 2, at the moment of a load; called in the resident's own thread."""
        found = asyncio.run_coroutine_threadsafe(self._pods_on(resident.uuid.lower()), loop)
        try:
            live = found.result(10)
        except (ApiError, TimeoutError):
            return
        if live:
            self._violated(f"the resident loads while {live} live on its GPU")

    def _asked(self, resident: ScriptedResident, call: Call) -> None:
        """A load is not even to be ordered while a training lives, whatever the resident would make of it."""
        if call.path.endswith("/load"):
            self._checks.append(asyncio.create_task(self._may_be_asked(resident)))

    async def _may_be_asked(self, resident: ScriptedResident) -> None:
        live = await self._pods_on(resident.uuid.lower())
        if live:
            self._violated(f"a load was ordered while {live} live on the GPU")

    async def _pods_on(self, gpu: str) -> list[str]:
        path = f"/api/v1/namespaces/{self.stage.name}/pods"
        pods = (await self.stage.api.get(path, labelSelector=f"gpurelay.dev/gpu={gpu}"))["items"]
        return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") not in _TERMINAL]

    def _called(self, call: Call) -> None:
        if call.is_order and call.operator:
            self._orders.append((time.monotonic(), call))

    # when it is over

    def verdict(self) -> list[str]:
        """Return all violations, those included that only whole histories show."""
        for birth in self._births:
            history = [owner for owner in self._owners.get(birth.gpu, []) if owner.version < birth.version]
            if not history:
                self._violated(f"{birth.name} was created before its GPU's Lease")
            elif history[-1].fence != birth.fence or not history[-1].holder.endswith(f"/{birth.job_uid}"):
                self._violated(f"{birth.name} was created under fence {birth.fence} while {history[-1]} owned the GPU")
        for moment, call in self._orders:
            taken = [leader for when, leader in self._leaders if when < moment - _HANDOVER]
            late = self._leads_around(call.operator, moment) or self._was_paused(call, moment)
            if taken and taken[-1] not in {"", call.operator} and not late:
                self._violated(f"{call.operator} gave an order ({call.kind}) while {taken[-1]} led")
        self.violations += [f"{name} took more memory than there was" for name in self.stage.kubelet.overbooked]
        return self.violations

    def _leads_around(self, operator: str, moment: float) -> bool:
        return any(leader == operator and abs(when - moment) <= _HANDOVER for when, leader in self._leaders)

    def _was_paused(self, call: Call, moment: float) -> bool:
        """True at the end of a pause: what was permitted before it, and not yet sent, leaves before the watchdog acts.

        No leader can help that; so Leases and statuses are compared and swapped, and residents' orders carry fences.
        The creation of a pod is neither, and not excused.
        """
        creates_pod = call.method == "POST" and call.path.endswith("/pods")
        return not creates_pod and 0 <= moment - self.stage.operators[call.operator].continued <= _HANDOVER

    def _violated(self, sentence: str) -> None:
        self.violations.append(sentence)


def _gpu(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["gpurelay.dev/gpu"])
