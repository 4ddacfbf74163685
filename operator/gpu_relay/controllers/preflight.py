"""Check a job before its turn: a dry run of its pod, so that a refusal costs no outage (law 9)."""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import datetime

from gpu_relay.api.pod_template import PodTemplate
from gpu_relay.api.words import UNMANAGED_GPU, Reason
from gpu_relay.clients.clock import Clock
from gpu_relay.clients.jobs import JobStore
from gpu_relay.clients.kube import KubeError, Object
from gpu_relay.clients.leases import next_fence
from gpu_relay.clients.pods import PodNameTakenError, PodStore
from gpu_relay.clients.pvcs import PvcStore
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.attempts import next_batch
from gpu_relay.domain.objects.job import Job, UnreadableJobError
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.pvc import claim_names, missing_message
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.placement import Held
from gpu_relay.pods.pod_builder import TrainerDefaults, training_pod

_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class Refusal:
    """Why a job cannot have a turn; `final` if only another spec helps."""

    reason: Reason
    message: str
    final: bool = False


@dataclass(frozen=True)
class _Entry:
    refusal: Refusal
    generation: int
    again_at: float
    """Monotonic, in seconds."""
    pause: float


class Preflight:
    """Checks the pods of jobs that may have a GPU, and holds back jobs that a check has refused."""

    def __init__(self, jobs: JobStore, pods: PodStore, pvcs: PvcStore, defaults: TrainerDefaults, clock: Clock) -> None:
        self._clock = clock
        self._jobs = jobs
        self._pods = pods
        self._pvcs = pvcs
        self._defaults = defaults
        self._entries: dict[str, _Entry] = {}
        """By the job's UID; its loss does no harm."""

    def held(self, jobs: list[Job]) -> Held:
        """Return why some of these jobs are held back for now; forget all others, and jobs whose spec has changed."""
        known = ((job, self._entries.get(job.key.uid)) for job in jobs) if self._entries else ()
        self._entries = {
            job.key.uid: entry for job, entry in known if entry is not None and entry.generation == job.generation
        }
        now = self._clock.monotonic()
        return {
            uid: (entry.refusal.reason, entry.refusal.message)
            for uid, entry in self._entries.items()
            if entry.again_at > now
        }

    def next_check(self) -> float | None:
        """Return the seconds until a held job is checked again; None if none is held."""
        now = self._clock.monotonic()
        return min((max(0.0, entry.again_at - now) for entry in self._entries.values()), default=None)

    def hold(self, job: Job, refusal: Refusal) -> None:
        """Hold a job back, for longer each time."""
        before = self._entries.get(job.key.uid)
        pause = min(_LONGEST_PAUSE, before.pause * 2) if before else _FIRST_PAUSE
        self._entries[job.key.uid] = _Entry(refusal, job.generation, self._clock.monotonic() + pause, pause)

    async def check(self, job: Job, gpu: Candidate, now: datetime) -> Refusal | None:
        """Return why a job cannot have its pod: a PVC is missing, or the API server refuses it; None if it can.

        Raise KubeError if the API server is unavailable.
        """
        missing, refused = await asyncio.gather(self._missing_volume(job), self._refused_pod(job, gpu, now))
        return missing or refused

    async def _missing_volume(self, job: Job) -> Refusal | None:
        names = claim_names(job)
        found = await asyncio.gather(*(self._pvcs.get(job.key.namespace, name) for name in names))
        for name, pvc in zip(names, found, strict=True):
            if pvc is None:
                return Refusal(Reason.VOLUME_CLAIM_MISSING, missing_message(job.key.namespace, name))
        return None

    async def _refused_pod(self, job: Job, gpu: Candidate, now: datetime) -> Refusal | None:
        body = self._body(job, gpu, now)
        try:
            await self._pods.check(body)
        except PodNameTakenError as error:
            await self._delete_ended(job, body["metadata"]["name"])
            return Refusal(Reason.POD_NAME_TAKEN, str(error))
        except KubeError as error:
            if error.unavailable:
                raise
            return await self._explain(job, gpu, now, error)
        return None

    async def _delete_ended(self, job: Job, name: str) -> None:
        """Delete an ended training pod that has the name of the job's next one, if nothing else deletes it.

        It is the job's own, which ended while the job could not be read, so that no turn recorded it; or that of an
        earlier job of the same name, which was deleted without its pods.
        """
        pod = await self._pods.get(job.key.namespace, name)
        if pod is None or pod.live or not pod.job_uid:
            return
        with contextlib.suppress(UnreadableJobError):
            latest = await self._jobs.get(job.key)
            if latest is not None and latest.next_attempt == job.next_attempt:
                await self._pods.delete(pod)

    async def _explain(self, job: Job, gpu: Candidate, now: datetime, error: KubeError) -> Refusal:
        """Return whether the spec causes the refusal, which is final, or the cluster, which can change."""
        message = f"the API server refuses the training pod: {error}"
        if not error.invalid:
            return Refusal(Reason.POD_REFUSED, message)
        plain = replace(job, spec=job.spec.model_copy(update={"pod_template": PodTemplate()}))
        try:
            await self._pods.check(self._body(plain, gpu, now))
        except (PodNameTakenError, KubeError):
            site = "also without spec.podTemplate: correct the operator's trainer-pod-template"
            return Refusal(Reason.POD_REFUSED, f"{message}; {site}")
        return Refusal(Reason.POD_REFUSED, f"{message}; correct spec.podTemplate in a new job", final=True)

    def _body(self, job: Job, gpu: Candidate, now: datetime) -> Object:
        """Return the pod of the turn that would begin."""
        node = gpu.resident.node if gpu.resident else ""
        name = UNMANAGED_GPU if gpu.resident is None else gpu.gpu
        fence = next_fence(gpu.lease, gpu.newest_fence, now)
        lease = GpuLease(name, "", name, job.key.holder, fence, None, "", node, "")
        step = CreatePod(job.next_attempt, next_batch(job))
        return training_pod(job, lease, gpu.resident, step, self._defaults)
