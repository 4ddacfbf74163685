"""Reads what a view needs; what the user may not read becomes a sentence."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from gpu_relay.api import words
from gpu_relay.clients.resources import EVENTS, JOBS, LEASES, NAMESPACES, NODES, PODS
from gpu_relay.domain.objects.event import REPORTER, JobEvent, job_event_of
from gpu_relay.domain.objects.job import Job, Object, UnreadableJobError, job_of
from gpu_relay.domain.objects.leader import LeaderRecord, leader_record_of
from gpu_relay.domain.objects.lease import GpuLease, lease_of
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.resident import Resident, ResidentPod, report_of, resident_of, resident_pod_of
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.overview.queue import waiting
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.effects.cluster import (
    ApiError,
    Cluster,
    ForbiddenError,
    NotFoundError,
    NotInstalledError,
    resident_port,
)
from kubectl_relay.effects.workload_reader import WorkloadList, WorkloadReader
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.views.named import not_for, read_name, workloads_named
from kubectl_relay.views.nearest import missing_job

_NOT_INSTALLED = (
    f"this cluster knows no {words.KIND}s: GPU Relay's CRD {words.PLURAL}.{words.GROUP} is not installed "
    "(kubectl apply -f crds/), or --context names another cluster"
)

T = TypeVar("T")


class SnapshotReader:
    """One look at the relay; notes what could not be seen."""

    def __init__(self, cluster: Cluster, relay_namespace: str) -> None:
        self._cluster = cluster
        self.relay_namespace = relay_namespace
        self._workload_reader = WorkloadReader(cluster)
        self._unknown: list[str] = []
        self._hidden: dict[str, str] = {}

    def snapshot(
        self, namespace: str | None, *, widen: bool, measure: bool = False, events: bool = False
    ) -> ClusterSnapshot:
        """Read jobs of a namespace (None: of all), GPUs' Leases and residents.

        `widen` reads jobs of all namespaces where that is allowed, and else those of the namespace alone.
        `measure` asks the residents themselves, `events` reads Events, too.
        """
        self._forget()
        jobs, everywhere = self._jobs(namespace, widen=widen)
        workloads = self._workloads(namespace, widen=widen)
        leases, leader = self._leases()
        residents = self._residents(measure=measure)
        job_events = self._events(None if everywhere else namespace, workloads) if events else None
        found = ClusterSnapshot(
            now=self._cluster.now,
            jobs=tuple(jobs),
            everywhere=everywhere,
            workloads=workloads.items,
            all_workloads=workloads.everywhere,
            leases=leases,
            leader=leader,
            residents=residents,
            events=job_events,
        )
        labels = self._node_labels(waiting(found), residents or ())
        return replace(found, node_labels=labels, unknown=self._sentences())

    def jobs_only(self, namespace: str | None, *, widen: bool) -> ClusterSnapshot:
        """Read jobs and Workloads as `snapshot` does; Leases, which show the turns of Workloads, if there are any."""
        self._forget()
        jobs, everywhere = self._jobs(namespace, widen=widen)
        workloads = self._workloads(namespace, widen=widen)
        sentences = self._sentences()
        leases = self._leases()[0] if workloads.items else None
        return ClusterSnapshot(
            now=self._cluster.now,
            jobs=tuple(jobs),
            everywhere=everywhere,
            workloads=workloads.items,
            all_workloads=workloads.everywhere,
            leases=leases,
            unknown=sentences,
        )

    def raw_job(self, namespace: str, name: str) -> Object:
        """Read one job; RelayError names the nearest one where it does not exist, or what else has the name."""
        named = read_name(name)
        others = () if named.may_be_job else self.workloads(namespace)
        try:
            if named.may_be_job:
                return self._cluster.get(JOBS, namespace, named.name)
        except NotInstalledError as error:
            raise RelayError(_NOT_INSTALLED, Exit.NOT_INSTALLED) from error
        except NotFoundError:
            others = self.workloads(namespace)
        found = workloads_named(named, namespace, others)
        raise RelayError(not_for(found[0]), Exit.NOT_FOUND) if found else self.missing(namespace, named.name)

    def missing(self, namespace: str, name: str) -> RelayError:
        """Return the error that a job does not exist, which names the nearest one."""
        return RelayError(missing_job(namespace, name, self._all_names(namespace)), Exit.NOT_FOUND)

    def job(self, namespace: str, name: str) -> Job:
        """Read one job as `raw_job` does."""
        return readable(self.raw_job(namespace, name))

    def find_job(self, namespace: str, name: str) -> Job | None:
        """Read one job; None where it does not exist."""
        try:
            return readable(self._cluster.get(JOBS, namespace, name))
        except NotInstalledError as error:
            raise RelayError(_NOT_INSTALLED, Exit.NOT_INSTALLED) from error
        except NotFoundError:
            return None

    def workloads(self, namespace: str) -> tuple[ListedWorkload, ...]:
        """Read the Workloads of a namespace."""
        return self._workload_reader.read(namespace, widen=False).items

    def names_of_workloads(self, namespace: str) -> dict[str, str]:
        """Return how users name the Workloads of a namespace, such as `job/my-training`, with the kinds."""
        represented = (each.represents for each in self.workloads(namespace))
        return {f"{each.kind.lower()}/{each.name}": each.kind for each in represented if each is not None}

    def jobs(self, namespace: str) -> list[Job]:
        """Read the jobs of a namespace."""
        return self._jobs(namespace, widen=False)[0]

    def namespaces(self) -> list[str]:
        """Read the names of all namespaces."""
        return [raw["metadata"]["name"] for raw in self._cluster.list(NAMESPACES, None)]

    def _all_names(self, namespace: str) -> list[tuple[str, str]]:
        """Return (namespace, name) of every job that may be seen."""
        for scope in (None, namespace):
            try:
                found = self._cluster.list(JOBS, scope)
            except ForbiddenError:
                continue
            return [(raw["metadata"]["namespace"], raw["metadata"]["name"]) for raw in found]
        return []

    def _jobs(self, namespace: str | None, *, widen: bool) -> tuple[list[Job], bool]:
        raws: list[Object] | None = None
        try:
            if widen and namespace is not None:
                raws = self._try("jobs of other namespaces", lambda: self._cluster.list(JOBS, None))
            everywhere = raws is not None or namespace is None
            if raws is None:
                raws = self._cluster.list(JOBS, namespace)
        except NotInstalledError as error:
            raise RelayError(_NOT_INSTALLED, Exit.NOT_INSTALLED) from error
        jobs = []
        for raw in raws:
            try:
                jobs.append(job_of(raw))
            except UnreadableJobError as error:
                self._unknown.append(f"Job {error.job.key} cannot be read: {error.fields}.")
        return jobs, everywhere

    def _workloads(self, namespace: str | None, *, widen: bool) -> WorkloadList:
        found = self._workload_reader.read(namespace, widen=widen and namespace is not None)
        self._hidden |= found.hidden
        return found

    def _leases(self) -> tuple[dict[str, GpuLease] | None, LeaderRecord | None]:
        mine = f"{words.LABEL_MANAGED_BY}={words.MANAGED_BY}"
        what = "the Leases, which record the owners of GPUs"
        raws = self._try(what, lambda: self._cluster.list(LEASES, self.relay_namespace, labels=mine))
        try:
            leader = leader_record_of(self._cluster.get(LEASES, self.relay_namespace, words.LEADER_LEASE))
        except ApiError:
            leader = None
        return None if raws is None else {lease.gpu: lease for lease in map(lease_of, raws)}, leader

    def _residents(self, *, measure: bool) -> tuple[Resident, ...] | None:
        raws = self._try(
            "resident pods",
            lambda: self._first_allowed(
                *(
                    partial(self._cluster.list, PODS, scope, labels=words.LABEL_RESIDENT)
                    for scope in dict.fromkeys((None, self.relay_namespace))
                )
            ),
        )
        if raws is None:
            return None
        pods = [resident_pod_of(raw, resident_port()) for raw in raws]
        running = [pod for pod in pods if measure and pod.phase == "Running"]
        reports = dict(zip((pod.uid for pod in running), self._cluster.reports(running), strict=True))
        return tuple(self._resident(pod, reports.get(pod.uid)) for pod in pods)

    def _node_labels(self, queue: Iterable[Claim], residents: Iterable[Resident]) -> dict[str, dict[str, str]]:
        """Read the labels of residents' nodes, where a waiting job or Workload asks for labels."""
        if not any(each.demand.node_labels for each in queue):
            return {}
        nodes = sorted({each.node for each in residents if each.node})
        read = (self._try("labels of nodes", partial(self._cluster.get, NODES, None, node)) for node in nodes)
        return {raw["metadata"]["name"]: raw["metadata"].get("labels", {}) for raw in read if raw is not None}

    def _first_allowed(self, *calls: Callable[[], T]) -> T:
        for call in calls[:-1]:
            try:
                return call()
            except ForbiddenError:
                continue
        return calls[-1]()

    def _resident(self, pod: ResidentPod, answer: Object | RelayError | None) -> Resident:
        """Return a resident with its report, where it was asked and could be read."""
        error = "" if pod.phase == "Running" else f"its pod is {pod.phase}"
        match answer:
            case dict():
                try:
                    return resident_of(pod, report_of(answer), "")
                except ValueError as problem:
                    error = str(problem)
            case ForbiddenError():
                self._hidden["the memory that residents measure"] = answer.right
            case RelayError():
                self._note(f"Resident {pod.namespace}/{pod.name} could not be asked: {answer}.")
        return resident_of(pod, None, error)

    def _events(self, namespace: str | None, workloads: WorkloadList) -> tuple[JobEvent, ...] | None:
        """Read the Events on jobs; those of Workloads' turns, which are on other kinds, where there may be some."""
        kinds = [f"involvedObject.kind={words.KIND}"]
        kinds += [f"involvedObject.kind!={words.KIND},reportingComponent={REPORTER}"] if workloads.checked else []

        def read() -> list[Object]:
            return [raw for fields in kinds for raw in self._cluster.list(EVENTS, namespace, fields=fields)]

        raws = self._try("Events", read)
        return None if raws is None else tuple(sorted(map(job_event_of, raws), key=lambda each: each.at))

    def _try(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except ForbiddenError as error:
            self._hidden[what] = error.right
            return None

    def _forget(self) -> None:
        """Forget what an earlier snapshot lacked."""
        self._unknown, self._hidden = [], {}

    def _sentences(self) -> tuple[str, ...]:
        """Return what could not be read; all that takes more rights is one sentence."""
        hidden = "; ".join(f"{what} ({right})" for what, right in self._hidden.items())
        return (*([f"Your rights do not show: {hidden}."] if hidden else []), *self._unknown)

    def _note(self, sentence: str) -> None:
        if sentence not in self._unknown:
            self._unknown.append(sentence)


def readable(raw: Object) -> Job:
    """Read a job; RelayError where its form is another version's."""
    try:
        return job_of(raw)
    except UnreadableJobError as error:
        raise RelayError(f"job {error.job.key} is of a form that this plugin cannot read: {error.fields}") from error
