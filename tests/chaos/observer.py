"""Checks the laws from outside: by the API server's own watches, the residents' ledgers, and what operators order.

Objects of one cluster share one count of versions, so Lease and pod histories can be laid side by side exactly.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from devcluster.scripted.resident import ScriptedResident
from gpu_relay.clients.kube import KubeError, Object
from gpu_relay.domain.turn.workload_turn import PIN_SETTLES
from tests.chaos import scope
from tests.chaos.births import Births, Live, Owner
from tests.chaos.intervals import Spans
from tests.chaos.kubelet import job_of, trains
from tests.chaos.ledger import Ledger
from tests.chaos.outages import LOADING, Outages
from tests.chaos.placements import placement_of
from tests.chaos.plain_jobs import JOB_NAME
from tests.chaos.proxy import Call
from tests.chaos.residents import ResidentPod
from tests.chaos.stage import Stage
from tests.chaos.waits import Waits

_KUEUE = 3.0
"""Seconds that Kueue and the Job controller take to stop a Job."""
_HANDOVER = 0.5
"""Seconds in which an order of a former leader may have been on its way."""


@dataclass
class Observer:
    """Watches one stage; `violations` are sentences."""

    stage: Stage
    violations: list[str] = field(default_factory=list)
    _live: dict[str, Object] = field(default_factory=dict)
    _gpu_of: dict[str, str] = field(default_factory=dict)
    """The GPU of each pod whose creation has been judged, by its UID; pods of Jobs are judged when they have a node."""
    _leaders: list[tuple[float, str]] = field(default_factory=list)
    _orders: list[tuple[float, Call]] = field(default_factory=list)
    _checks: list[asyncio.Task[None]] = field(default_factory=list)
    _running: dict[str, tuple[float, str, str]] = field(default_factory=dict)
    """Since when a pod runs, on which GPU, for which job of the bystander (empty: for another's), by the pod's UID."""
    _on_gpu: dict[str, Spans] = field(default_factory=dict)
    _for_bystander: dict[str, Spans] = field(default_factory=dict)
    _turn_since: dict[str, float] = field(default_factory=dict)
    _turns: dict[str, Spans] = field(default_factory=dict)
    """When a GPU was a job's, or still to be given back."""

    def __post_init__(self) -> None:
        happenings = self.stage.happenings
        idle = float(self.stage.settings.get("MAX_IDLE_OUTAGE", "120"))
        releases = float(self.stage.settings["MEMORY_RETURN_TIMEOUT"]) + float(self.stage.settings["LOAD_TIMEOUT"])
        self._outages = Outages(happenings, idle + LOADING)
        late = PIN_SETTLES + _KUEUE if self.stage.plain.opened else 0.0
        self._waits = Waits(happenings, idle + releases + late)
        self._births = Births(self.stage, self._violated)
        self._ledger = Ledger()

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        for proxy in self.stage.proxies.values():
            proxy.on_call = self._called
        lenders = self.stage.lenders
        lenders.on_open, lenders.on_restart = partial(self._opened, loop), self._outages.end
        for pod in lenders.present:
            self._opened(loop, pod)
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.stage.system}/leases"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(leases, self._lease_changed))
            tasks.create_task(self._watch(self.stage.jobs_path(self.stage.bystander), self._bystander_changed))
            for namespace in self.stage.tenants:
                pods = self.stage.pods_path(namespace)
                tasks.create_task(self._watch(pods, self._pod_changed, labels="gpurelay.dev/gpu"))
            unpinned = f"{JOB_NAME},!gpurelay.dev/gpu"
            tasks.create_task(self._watch(self.stage.pods_path(), self._unpinned_changed, labels=unpinned))

    def _opened(self, loop: asyncio.AbstractEventLoop, pod: ResidentPod) -> None:
        pod.scripted.before_load = partial(self._may_load, pod.scripted, loop)
        pod.proxy.on_call = partial(self._asked, pod.scripted)
        pod.proxy.on_answer = partial(self._births.reported, pod.scripted)
        self._outages.follow(pod.scripted)
        self._waits.gpus.setdefault(pod.gpu, time.monotonic())

    async def _watch(self, path: str, changed: Callable[[str, Object], None], labels: str = "") -> None:
        _, version = await self.stage.api.list_with_version(path, labels=labels)
        async for kind, raw in self.stage.api.follow(path, version, labels=labels):
            changed(kind, raw)

    # while it runs

    def _lease_changed(self, kind: str, raw: Object) -> None:
        name, spec = raw["metadata"]["name"], raw["spec"]
        if kind == "DELETED":
            return
        if name == "gpu-relay-leader":
            self._leaders.append((time.monotonic(), spec.get("holderIdentity", "").split("_")[0]))
            return
        self._turn_changed(name, raw)
        self._ledger.changed(name, raw)
        owner = Owner(int(raw["metadata"]["resourceVersion"]), spec["holderIdentity"], spec["leaseTransitions"])
        history = self._births.owners.setdefault(name, [])
        if history and owner.fence < history[-1].fence:
            self._violated(f"the fence of {name} fell from {history[-1].fence} to {owner.fence}")
        if history and owner.holder != history[-1].holder and "resident" not in {owner.holder, history[-1].holder}:
            self._violated(f"{name} went from {history[-1].holder} to {owner.holder} directly")
        history.append(owner)

    def _turn_changed(self, gpu: str, lease: Object) -> None:
        """Note when a GPU is a job's, or is still to be given back to its resident."""
        owed = "gpurelay.dev/reload-owed" in lease["metadata"].get("annotations", {})
        if lease["spec"]["holderIdentity"] != "resident" or owed:
            self._turn_since.setdefault(gpu, time.monotonic())
        elif gpu in self._turn_since:
            self._turns.setdefault(gpu, []).append((self._turn_since.pop(gpu), time.monotonic()))

    def _bystander_changed(self, kind: str, raw: Object) -> None:
        name = raw["metadata"]["name"]
        self._waits.began.setdefault(name, time.monotonic())
        if raw.get("status", {}).get("phase") == "Succeeded":
            self._waits.ended.setdefault(name, time.monotonic())

    def _pod_changed(self, kind: str, raw: Object) -> None:
        uid = raw["metadata"]["uid"]
        is_placed = JOB_NAME not in raw["metadata"]["labels"] or "nodeName" in raw["spec"]
        if kind != "DELETED" and is_placed and uid not in self._gpu_of:
            placement = placement_of(raw, self.stage.lenders.gpu_of_node.get(raw["spec"].get("nodeName", ""), ""))
            self._births.created(raw, placement, self._beside())
            self._gpu_of[uid] = placement.gpu
        live = kind != "DELETED" and trains(raw)
        if live:
            self._live[uid] = raw
        else:
            self._live.pop(uid, None)
        if live and raw["status"].get("phase") == "Running" and uid not in self._running:
            meta = raw["metadata"]
            own = meta["labels"]["gpurelay.dev/job"] if meta["namespace"] == self.stage.bystander else ""
            self._running[uid] = (time.monotonic(), self._gpu_of[uid], own)
        if not live and uid in self._running:
            self._ran(uid)

    def _beside(self) -> Live:
        """Return the live pods."""
        return [(raw["metadata"]["name"], self._gpu_of[uid]) for uid, raw in self._live.items()]

    def _unpinned_changed(self, kind: str, raw: Object) -> None:
        if kind == "ADDED":
            self._violated(f"{raw['metadata']['name']} was created without a GPU of its own")

    def _ran(self, uid: str) -> None:
        """Note when a pod has run."""
        began, gpu, own = self._running.pop(uid)
        span = (began, time.monotonic())
        self._on_gpu.setdefault(gpu, []).append(span)
        if own:
            self._for_bystander.setdefault(own, []).append(span)

    def _may_load(self, resident: ScriptedResident, loop: asyncio.AbstractEventLoop) -> None:
        """Law 2, at the moment of a load; called in the resident's own thread."""
        found = asyncio.run_coroutine_threadsafe(self._pods_on(resident.uuid.lower()), loop)
        try:
            live = found.result(10)
        except (KubeError, TimeoutError):
            return
        if live:
            self._violated(f"the resident loads while {live} live on its GPU")

    def _asked(self, resident: ScriptedResident, call: Call) -> None:
        """A load must not even be ordered while a training pod lives, even if the resident refuses it."""
        if call.path.endswith("/load"):
            self._checks.append(asyncio.create_task(self._may_be_asked(resident)))

    async def _may_be_asked(self, resident: ScriptedResident) -> None:
        live = await self._pods_on(resident.uuid.lower())
        if live:
            self._violated(f"a load was ordered while {live} live on the GPU")

    async def _pods_on(self, gpu: str) -> list[str]:
        read = [
            await self.stage.api.list(self.stage.pods_path(each), labels="gpurelay.dev/gpu")
            for each in self.stage.tenants
        ]
        return [pod["metadata"]["name"] for pods in read for pod in pods if trains(pod) and self._is_on(pod, gpu)]

    def _is_on(self, pod: Object, gpu: str) -> bool:
        at_node = self.stage.lenders.gpu_of_node.get(pod["spec"].get("nodeName", ""), "")
        return self._gpu_of.get(pod["metadata"]["uid"], placement_of(pod, at_node).gpu) == gpu

    def _called(self, call: Call) -> None:
        if call.is_order and call.operator:
            self._orders.append((time.monotonic(), call))
        if call.method == "DELETE" and "/pods/" in call.path:
            self._may_be_deleted(call)
        if call.method == "POST" and call.path.endswith("/pods") and "dryRun" not in call.query:
            self._births.ordered(json.loads(call.body))
        if call.method == "PATCH" and "/workloads/" in call.path and call.path.endswith("/status"):
            name, status = call.path.split("/")[-2], json.loads(call.body)["status"]
            self._births.allowed(name, status, self._beside())
        if call.method != "GET" and scope.is_foreign(call.path, {*self.stage.tenants, self.stage.system}):
            self._violated(f"{call.operator} wrote {call.path}, which is of another scenario")

    def _may_be_deleted(self, call: Call) -> None:
        """Law 10: a job that cannot be read is not gone, so its training run continues."""
        namespace, name = call.path.split("/")[-3], call.path.rsplit("/", 1)[-1]
        jobs = [
            job_of(pod)
            for pod in self._live.values()
            if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == (namespace, name)
        ]
        since = next((self.stage.happenings.unreadable.get((namespace, job)) for job in jobs), None)
        if since is not None:
            after = time.monotonic() - since
            self._violated(f"law 10: {name} was deleted {after:.1f} s after its job became unreadable")

    # at the end

    def verdict(self) -> list[str]:
        """Return all violations, those included that only whole histories show."""
        self._births.judge()
        self._judge_orders()
        self.violations += self._ledger.verdict(sum(each.starts for each in self.stage.operators.values()))
        for kubelet in (self.stage.kubelet, self.stage.neighbour):
            self.violations += [f"{name} took more memory than there was" for name in kubelet.overbooked]
            self.violations += [f"{name} ran on another GPU than its turn's" for name in kubelet.misplaced]
        self._close_open_spans()
        gone = self.stage.lenders.gone
        self.violations += self._outages.verdict(self._on_gpu, gone)
        self.violations += self._waits.verdict(self._on_gpu, self._turns, self._for_bystander, gone, self._others())
        return self.violations

    def _judge_orders(self) -> None:
        """Only the leader gives orders."""
        for moment, call in self._orders:
            taken = [leader for when, leader in self._leaders if when < moment - _HANDOVER]
            late = self._leads_around(call.operator, moment) or self._was_paused(call, moment)
            if taken and taken[-1] not in {"", call.operator} and not late:
                self._violated(f"{call.operator} gave an order ({call.kind}) while {taken[-1]} led")

    def _close_open_spans(self) -> None:
        """Close what has no end yet."""
        for uid in list(self._running):
            self._ran(uid)
        for gpu, since in self._turn_since.items():
            self._turns.setdefault(gpu, []).append((since, time.monotonic()))

    def _others(self) -> int:
        """Count the jobs that had a turn, without the bystander's."""
        holders = {owner.holder for history in self._births.owners.values() for owner in history} - {"resident"}
        return len({holder for holder in holders if f"/{self.stage.bystander}/" not in holder})

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
