"""A simulated GPU for the planner: its Lease, its resident, training pods, and one job."""

from dataclasses import replace
from datetime import UTC, datetime

from gpu_relay.api.words import TERMINAL_PHASES, Phase
from gpu_relay.domain.job.pod_failures import is_start_failure
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import Hold
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time, timestamp
from gpu_relay.domain.turn_view import Preemptor, TurnView
from tests.support import builders
from tests.support.builders import FREE_MIB, KEY

NEED = 10240
SMALL_MODEL = 4000
"""A resident beside which the job fits."""
POLICY = Policy(memory_return_timeout=5)


class SimulatedTurn:
    """One job, one GPU, one resident; a turn of the job begins again whenever the job is back in the queue."""

    def start(
        self, foreign: int, loaded: bool, model: int, sharing: str, preemptible: bool, active: int | None
    ) -> None:
        """Begin with the GPU at rest and a new job."""
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.loaded = loaded
        self.hold: Hold | None = None
        self.foreign, self.trainer = (0 if loaded else foreign), 0
        self.resident_exists = self.reachable = True
        self.pods: dict[str, TrainingPod] = {}
        self.beside: set[str] = set()
        """Pods that were created beside the loaded resident."""
        self.job: Job | None = builders.job(
            created=timestamp(self.now),
            gpu={"memory": "10Gi", "sharing": sharing},
            preemptible=preemptible,
            activeDeadlineSeconds=active,
        )
        self.lease = builders.lease(None, fence=0, acquired=None)
        self.was_unloaded = False
        self.successor, self.model = "", model
        self.preemptor: Preemptor | None = None
        self.node_trouble = self.withdrawal = self.unreadable = ""
        self.unreadable_since: datetime | None = None
        self.forget()

    def dispatch_if_free(self) -> None:
        """Give the Lease of the idle GPU to the job, where it is queued, as the scheduler does."""
        job, lease = self.job, self.lease
        if job is None or self.unreadable or job.spec.suspend or self.withdrawal:
            return
        if lease.holder != HOLDER_RESIDENT or lease.reload_pending:
            return
        if job.status.phase in {None, Phase.QUEUED, Phase.ACQUIRING, Phase.TRAINING, Phase.SUSPENDED}:
            now = timestamp(self.now)
            self.lease = replace(lease, holder=KEY.holder, fence=lease.fence + 1, acquired=now, unused_since=now)
            self.forget()

    def forget(self) -> None:
        """Drop what the operator knows of the turn in memory only, as a restart does."""
        self.samples: tuple[int, ...] = ()
        self.room: tuple[int, ...] = ()
        self.failure, self.load_failed = "", False

    def used(self) -> int:
        """Return the MiB in use on the GPU."""
        return (self.model if self.loaded else 0) + self.foreign + self.trainer

    def live(self) -> list[str]:
        """Return the names of the live training pods."""
        return [name for name, pod in self.pods.items() if pod.termination is None or pod.outlived]

    @staticmethod
    def can_train(pod: TrainingPod) -> bool:
        """Return whether the trainer of a pod runs."""
        return pod.waiting is None and pod.termination is None

    def own(self) -> list[str]:
        """Return the names of the job's live pods."""
        return [name for name in self.live() if name != "stray-1"]

    def view(self) -> TurnView:
        """Observe: take a sample of free memory, and return what the planner sees."""
        observed = None
        if self.resident_exists:
            reported = builders.report(loaded=self.loaded, used=self.used(), hold=self.hold, need_mib=self.model)
            observed = builders.resident(reported if self.reachable else None)
        if observed is not None and observed.report is not None and self.hold is not None and not self.loaded:
            self.samples = (*self.samples[-POLICY.samples :], observed.report.free_mib)
        else:
            self.samples = ()
        beside = observed is not None and observed.report is not None and self.hold is None and self.loaded
        self.room = (*self.room[-POLICY.samples :], FREE_MIB - self.used()) if beside else ()
        return TurnView(
            now=self.now,
            policy=POLICY,
            lease=self.lease,
            resident=observed,
            job=None if self.unreadable else self.job,
            unreadable=self.unreadable if self.job is not None else "",
            unreadable_for=(self.now - (self.unreadable_since or self.now)).total_seconds(),
            pods=tuple(self.pods.values()),
            samples=self.samples,
            room=self.room,
            successor=self.successor,
            preemptor=self.preemptor,
            node_trouble=self.node_trouble,
            withdrawal=self.withdrawal,
            start_failing_for=self.start_failing_for(),
            failure=self.failure,
            load_failed=self.load_failed,
        )

    def start_failing_for(self) -> float:
        """Return the seconds since the creation of a pod that fails to start, 0 without one."""
        failing = [parse_time(pod.created) for pod in self.pods.values() if is_start_failure(pod)]
        return max(((self.now - created).total_seconds() for created in failing), default=0.0)

    def last_word(self) -> str:
        """Return the reason in the termination message of this turn's pod; empty without one."""
        ended = [pod.termination for pod in self.pods.values() if pod.fence == self.lease.fence and pod.termination]
        return str(ended[0].last_word.get("reason", "")) if ended else ""

    def has_finished(self) -> bool:
        """Return whether the job has finished."""
        return self.job is not None and self.job.status.phase in TERMINAL_PHASES
