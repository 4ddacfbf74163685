"""Judges the creation of training pods: laws 1, 2, 5 and 10, when a creation is ordered and when it has happened."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from devcluster.scripted.resident import ScriptedResident
from gpu_relay.clients.kube import Object
from gpu_relay.domain.objects.checked_workload import READY
from tests.chaos.placements import Placement, placements_of
from tests.chaos.proxy import Call
from tests.chaos.residents import ResidentPod
from tests.chaos.stage import Stage

_PROOF = "gpurelay.dev/proven-free-mib"
_PROOF_LIFETIME = 5.0
"""Seconds after a measurement in which a pod may be created on it (`LONGEST_GAP` in controllers/turn_state.py)."""
_ON_THE_WAY = 0.5
"""Seconds between an operator's clock and this observer's, on a busy machine: a report and an order travel."""
_NOTICED = 1.0
"""Seconds in which an order may have been on its way that was right when it was given."""

Live = list[tuple[str, str]]
"""Live training pods: the name of each, and its GPU."""


@dataclass(frozen=True)
class Owner:
    """The owner of a GPU, as a version of its Lease says."""

    version: int
    holder: str
    fence: int


@dataclass(frozen=True)
class _Birth:
    version: int
    namespace: str
    name: str
    gpu: str
    fence: int
    owner_uid: str
    plain: bool
    """True for a pod of a Workload: the operator has only allowed its creation."""


@dataclass
class Births:
    """The creations of one run's training pods; `violated` hears a sentence for each that breaks a law."""

    stage: Stage
    violated: Callable[[str], None]
    owners: dict[str, list[Owner]] = field(default_factory=dict)
    """Each GPU's owners, oldest first."""
    _births: list[_Birth] = field(default_factory=list)
    _ordered: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the creation of each pod was last ordered (monotonic, seconds), by its namespace and name."""
    _reported: dict[str, float] = field(default_factory=dict)
    """When each GPU's resident last answered (monotonic, seconds)."""

    def reported(self, resident: ScriptedResident, call: Call) -> None:
        """Note that a resident has answered a question."""
        if call.method == "GET":
            self._reported[resident.uuid.lower()] = time.monotonic()

    def ordered(self, pod: Object) -> None:
        """Law 1: a creation is ordered on a new measurement with enough memory, even if the GPU ends before the pod.

        The order may arrive late. What another process takes meanwhile, no operator can know.
        """
        meta = pod["metadata"]
        self._ordered[meta["namespace"], meta["name"]] = time.monotonic()
        if _PROOF not in meta.get("annotations", {}):
            return
        gpu = placements_of(meta)[0].gpu
        self._expect_new_measurement(gpu, f"the creation of {meta['name']} was ordered")
        for resident in self.stage.lenders.of_gpu(gpu):
            self._expect_memory(f"the creation of {meta['name']} was ordered", gpu, resident.scripted)

    def _expect_memory(self, what: str, gpu: str, resident: ScriptedResident, taken: int = 0) -> None:
        """Expect an unloaded resident and the memory that a pod needs, but for `taken` MiB."""
        just_began = time.monotonic() - self.stage.happenings.began.get(gpu, 0.0) < _NOTICED
        free = resident.report()["free_mib"]
        if not just_began and (resident.loaded or free + taken < 10_240):
            self.violated(f"{what} while {free} MiB are free, loaded {resident.loaded}")

    def _expect_new_measurement(self, gpu: str, what: str) -> None:
        age = time.monotonic() - self._reported.get(gpu, float("-inf"))
        if age > _PROOF_LIFETIME + _ON_THE_WAY:
            self.violated(f"{what} {age:.1f} s after its GPU was measured")

    def allowed(self, workload: str, status: Object, live: Live) -> None:
        """Laws 1, 2 and 10, when the operator sets the check of a Workload to Ready with a pin: pods follow."""
        for entry in status.get("admissionChecks", ()):
            update: Object = next(iter(entry.get("podSetUpdates", ())), {})
            if entry["state"] == READY and update.get("labels"):
                owner = update["labels"]["gpurelay.dev/workload-uid"]
                for each in placements_of(update):
                    self._allowed(
                        _Birth(0, "", f"the permission for {workload}", each.gpu, each.fence, owner, plain=False), live
                    )

    def _allowed(self, ready: _Birth, live: Live) -> None:
        self._expect_new_measurement(ready.gpu, f"{ready.name} was created")
        self._expect_alone(ready, live)
        for resident in self.stage.lenders.of_gpu(ready.gpu):
            self._created_beside(ready, resident)

    def created(self, pod: Object, placement: Placement, live: Live) -> None:
        """Laws 1, 2 and 10, when a pod exists; `live` are the training pods that there are beside it."""
        meta, labels = pod["metadata"], pod["metadata"]["labels"]
        birth = _Birth(
            int(meta["resourceVersion"]),
            meta["namespace"],
            meta["name"],
            placement.gpu,
            placement.fence,
            labels.get("gpurelay.dev/job-uid") or labels["gpurelay.dev/workload-uid"],
            plain="gpurelay.dev/workload-uid" in labels,
        )
        self._births.append(birth)
        self._expect_alone(birth, live)
        residents = self.stage.lenders.of_gpu(birth.gpu)
        if not residents and _PROOF not in meta.get("annotations", {}):
            self.violated(f"{birth.name} was created for GPU {birth.gpu}, which has no resident")
        for resident in residents:
            self._created_beside(birth, resident)

    def _expect_alone(self, birth: _Birth, live: Live) -> None:
        others = [name for name, gpu in live if gpu == birth.gpu]
        if others:
            self.violated(f"{birth.name} was created beside {others}")

    def _created_beside(self, birth: _Birth, pod: ResidentPod) -> None:
        """Judge a pod created on a GPU that has a resident."""
        resident, now = pod.scripted, time.monotonic()
        # Between Ready and the pod, or its replacement, another process may take memory: no operator can prevent that.
        # Nor can it while an order to create the pod is on its way. The resident must be unloaded in any case.
        ordered = self._ordered.get((birth.namespace, birth.name), now)
        since = self.stage.happenings.began.get(birth.gpu, 0.0) > ordered - _NOTICED
        taken = (resident.other_mib + resident.faults.leak_mib) if birth.plain or since else 0
        self._expect_memory(f"{birth.name} was created", birth.gpu, resident, taken)
        hold = resident.report()["hold"]
        if not self.stage.restarted and (hold is None or hold["fence"] != birth.fence):
            self.violated(f"{birth.name} was created under fence {birth.fence}, the resident's hold is {hold}")
        if not birth.plain and pod.silent_since is not None and now - pod.silent_since > _NOTICED:
            self.violated(f"law 10: {birth.name} was created while its GPU's resident does not answer")

    def judge(self) -> None:
        """Law 5: the Lease was the owner's, under the pod's fence, when the pod was created."""
        for birth in self._births:
            history = [owner for owner in self.owners.get(birth.gpu, []) if owner.version < birth.version]
            if not history:
                self.violated(f"{birth.name} was created before its GPU's Lease")
            elif history[-1].fence != birth.fence or not history[-1].holder.endswith(f"/{birth.owner_uid}"):
                self.violated(f"{birth.name} was created under fence {birth.fence} while {history[-1]} owned the GPU")
