"""Law 9, from outside: how long residents are unloaded while nothing trains on their GPUs, and for what."""

import time
from dataclasses import dataclass, field, replace

from devcluster.scripted.resident import ScriptedResident
from gpu_relay.domain.objects.owner import JOB
from tests.chaos.happenings import Happenings
from tests.chaos.intervals import Spans, minus, seconds, union

LOADING = 6.0
"""Seconds for the order to load, and for a machine that several scenarios share."""
WITHOUT_TRAINING = 6
"""Outages in which nothing trains that a run may have for causes that come up while the resident unloads."""
_NOTICED = 1.0
"""Seconds in which a cause may be noticed before it counts as known."""
_NOW = float("inf")


@dataclass(frozen=True)
class Outage:
    """From an unload to the answer to the order to load."""

    gpu: str
    holder: str
    began: float
    ended: float = _NOW


@dataclass
class Outages:
    """Hears of unloads and loads from the residents, and judges at the end.

    The bound: while no training pod runs on its GPU, a resident is asked to load again within
    `GPU_RELAY_MAX_IDLE_OUTAGE` + `LOADING` seconds, not counting the time in which something concerns everyone, or in
    which the resident cannot be asked (`Happenings`). A load that the resident refuses for want of memory ends an
    outage: to ask is all that an operator can do.
    """

    happenings: Happenings
    bound: float
    all: list[Outage] = field(default_factory=list)
    _loaded: dict[int, bool] = field(default_factory=dict)

    def follow(self, resident: ScriptedResident) -> None:
        """Hear of a resident's orders, in its own thread."""
        resident.before_unload = lambda: self._unloads(resident)
        resident.after_call = lambda name, status: self._called(resident, name, status)

    def end(self, resident: ScriptedResident, when: float | None = None) -> None:
        """End a resident's outage: it loads, or a new process has taken its place."""
        ended = time.monotonic() if when is None else when
        for place, outage in enumerate(self.all):
            if outage.gpu == resident.uuid.lower() and outage.ended == _NOW:
                self.all[place] = replace(outage, ended=max(ended, outage.began))

    def _unloads(self, resident: ScriptedResident) -> None:
        if resident.loaded:
            holder = str((resident.called("unload") or [{}])[-1].get("holder", ""))
            self.all.append(Outage(resident.uuid.lower(), holder, time.monotonic()))

    def _called(self, resident: ScriptedResident, name: str, status: int) -> None:
        if name == "load" and status in {200, 503}:
            self.end(resident)

    def verdict(self, running: dict[str, Spans], gone: list[tuple[float, str]]) -> list[str]:
        """Return what broke the law. `running`: when training pods ran, by GPU; `gone`: GPUs that ended, and when."""
        now = time.monotonic()
        ends = {gpu: when for when, gpu in gone}
        known = [replace(each, ended=min(each.ended, ends.get(each.gpu, now))) for each in self.all]
        faults = union(self.happenings.everyone)
        return [
            *(word for outage in known for word in self._too_long(outage, running.get(outage.gpu, []), faults)),
            *(word for outage in known for word in self._needless(outage, faults)),
            *self._too_many(known, running),
        ]

    def _too_long(self, outage: Outage, running: Spans, faults: Spans) -> list[str]:
        excused = [*faults, *self.happenings.silent.get(outage.gpu, [])]
        stretches = minus([(outage.began, outage.ended)], running)
        worst = max((seconds(minus([each], excused)) for each in stretches), default=0.0)
        if worst <= self.bound:
            return []
        return [f"law 9: {outage.gpu} was unloaded for {worst:.1f} s without a running pod, for {outage.holder}"]

    def _needless(self, outage: Outage, faults: Spans) -> list[str]:
        """A cause that is known beforehand costs no outage. The pods of Workloads are not checked beforehand."""
        if not minus([(outage.began, outage.began + 0.001)], faults):
            return []
        causes = [
            cause
            for cause in self.happenings.known
            if cause.began + _NOTICED <= outage.began <= cause.ended
            and (cause.gpu == outage.gpu or (cause.namespace and outage.holder.startswith(f"{JOB}/{cause.namespace}/")))
        ]
        return [f"law 9: {outage.gpu} was unloaded for {outage.holder} in spite of: {cause.name}" for cause in causes]

    def _too_many(self, outages: list[Outage], running: dict[str, Spans]) -> list[str]:
        without = [
            outage
            for outage in outages
            if not any(begin < outage.ended and end > outage.began for begin, end in running.get(outage.gpu, []))
        ]
        allowed = WITHOUT_TRAINING + len(union(self.happenings.everyone))
        if len(without) <= allowed:
            return []
        return [f"law 9: {len(without)} outages without any running pod, where at most {allowed} have a cause"]
