"""Build the objects that decisions read: jobs, Leases, residents, training pods and views of a turn.

The defaults fit together: at noon, the job `vision/digits` owns the GPU `gpu-1` of `node-1` under fence 7, and the
resident `gpu-relay/sam3` is unloaded and held for it. A test names only the fields that it is about.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gpu_relay.api.v1alpha1 import Attempt, Turn, YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.lease import HOLDER_RESIDENT, GpuLease
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.objects.pod import TrainingPod
from gpu_relay.domain.objects.resident import GpuReport, Hold, Resident
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.turn_view import TurnView

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FENCE = 7
TOTAL_MIB, RESERVED_MIB, MODEL_MIB = 15_360, 450, 14_000
FREE_MIB = TOTAL_MIB - RESERVED_MIB
"""Free memory of the GPU while nothing uses it."""


def ago(seconds: float) -> str:
    """Return the timestamp of `seconds` before now."""
    return timestamp(NOW - timedelta(seconds=seconds))


def key(name: str = "digits", namespace: str = "vision") -> JobKey:
    """Return the key of a job: its UID is `uid-` and its name."""
    return JobKey(namespace, name, f"uid-{name}")


KEY = key()
HOLD = Hold(KEY.holder, FENCE, 60.0)


def spec(**fields: Any) -> YoloTrainingJobSpec:
    """Return a minimal spec, with fields of the CRD added or replaced."""
    minimal = {
        "model": "yolo26n.yaml",
        "dataset": {"persistentVolumeClaim": {"claimName": "data"}, "path": "digits"},
        "output": {"persistentVolumeClaim": {"claimName": "results"}},
        "gpu": {"memory": "10Gi"},
    }
    return YoloTrainingJobSpec.model_validate({**minimal, **fields})


def job(
    name: str = "digits",
    *,
    namespace: str = "vision",
    status: Mapping[str, Any] | YoloTrainingJobStatus | None = None,
    created: str = "2026-01-01T11:00:00Z",
    local_queue: str = "",
    **fields: Any,
) -> Job:
    """Return a job with a status, and with fields of its minimal spec added or replaced."""
    reported = status if isinstance(status, YoloTrainingJobStatus) else YoloTrainingJobStatus(**(status or {}))
    return Job(key(name, namespace), 1, "1", created, False, spec(**fields), reported, local_queue)


def stopping(reason: Reason) -> Job:
    """Return a training job whose status records why its turn stops."""
    return job(status={"turn": Turn(fence=FENCE, since=ago(60), stopping=reason)})


def attempt(number: int = 1, reason: str = Reason.ERROR, **fields: Any) -> Attempt:
    """Return an attempt that ended a minute ago."""
    made = Attempt(number=number, pod=f"digits-{number}", fence=number, reason=reason, completion_time=ago(60))
    return made.model_copy(update={"gpu": "gpu-1", **fields})


def attempts(*reasons: str) -> list[Attempt]:
    """Return attempts that ended for these reasons."""
    return [attempt(number, reason) for number, reason in enumerate(reasons, start=1)]


def lease(owner: Job | JobKey | None = KEY, gpu: str = "gpu-1", **fields: Any) -> GpuLease:
    """Return the Lease of a GPU, held by a job, or by the resident where `owner` is None."""
    owner_key = owner.key if isinstance(owner, Job) else owner
    holder = HOLDER_RESIDENT if owner_key is None else owner_key.holder
    return replace(GpuLease(gpu, "1", gpu, holder, FENCE, ago(60), "key", "node-1", ""), **fields)


def report(*, loaded: bool = False, used: int | None = None, hold: Hold | None = None, **fields: Any) -> GpuReport:
    """Return a resident's report; without `used`, only its model uses the GPU, while it is loaded."""
    in_use = (MODEL_MIB if loaded else 0) if used is None else used
    state = "loaded" if loaded else "unloaded"
    made = GpuReport("GPU-1", "T4", TOTAL_MIB, RESERVED_MIB, in_use, FREE_MIB - in_use, MODEL_MIB, loaded, state, hold)
    return replace(made, **fields)


def resident(reported: GpuReport | None = None, **fields: Any) -> Resident:
    """Return a resident with its report; without one, it does not answer."""
    return replace(Resident("gpu-relay", "sam3", "u", "node-1", "http://sam3", {}, reported), **fields)


def candidate(reported: GpuReport | None, gpu: str = "gpu-1", **fields: Any) -> Candidate:
    """Return a GPU for the queue, with its resident in the job's namespace, to which it may lend the GPU."""
    return replace(Candidate(gpu, resident(reported, namespace="vision", error="no answer within 5 s"), {}), **fields)


def training(name: str, gpu: str, seconds: float, **fields: Any) -> tuple[Job, Candidate]:
    """Return a job that has owned a GPU for some seconds, and that GPU, which has no resident."""
    owner = job(name, status={"phase": Phase.TRAINING, "turn": Turn(fence=FENCE, since=ago(seconds))}, **fields)
    return owner, Candidate(gpu, None, {}, lease(owner, gpu))


def pod(**fields: Any) -> TrainingPod:
    """Return the running pod of the job's first attempt."""
    made = TrainingPod(
        "vision", "digits-1", "p", KEY.uid, "gpu-1", FENCE, "Running", "10.0.0.1", False, ago(30), None, None,
        node="node-1",
    )  # fmt: skip
    return replace(made, **fields)


def pod_object(message: str | None = None) -> dict[str, Any]:
    """Return the API object of the same pod: running, or failed with a termination message."""
    labels = {"job-uid": KEY.uid, "attempt": "1", "fence": str(FENCE), "gpu": "gpu-1"}
    meta = {
        "namespace": "vision", "name": "digits-1", "uid": "p", "creationTimestamp": ago(30),
        "labels": {f"gpurelay.dev/{name}": value for name, value in labels.items()},
    }  # fmt: skip
    state = {"running": {}} if message is None else {"terminated": {"exitCode": 1, "message": message}}
    phase = "Running" if message is None else "Failed"
    status = {"phase": phase, "podIP": "127.0.0.1", "containerStatuses": [{"name": "trainer", "state": state}]}
    return {"metadata": meta, "status": status}


def view(**fields: Any) -> TurnView:
    """Return the view of a turn whose resident is unloaded and held, and whose pod is not created yet."""
    return replace(TurnView(NOW, Policy(), lease(), resident(report(hold=HOLD)), job()), **fields)
