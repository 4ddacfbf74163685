"""Prometheus metrics of the operator; docs/operations.md lists them."""

from datetime import datetime

from prometheus_client import Counter, Gauge, Histogram

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import JobKey

_FAST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SLOW = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400)

PREPARATIONS = Gauge("gpu_relay_preparations", "Jobs whose data is being fetched and checked without a GPU")
QUEUE_LENGTH = Gauge("gpu_relay_queue_length", "Jobs and Workloads that wait for a GPU")
QUEUE_WAIT = Histogram(
    "gpu_relay_queue_wait_seconds",
    "Seconds from the end of a job's preparation or last attempt, or from the quota of a Workload, to its turn",
    ["kind"],
    buckets=_SLOW,
)
QUEUE_OLDEST = Gauge(
    "gpu_relay_queue_oldest_seconds",
    "Seconds that the job or Workload that has waited longest for a GPU has been waiting; 0: none",
)
JOBS_FINISHED = Counter(
    "gpu_relay_jobs_finished",
    "Jobs that ended, by their phase (Succeeded or Failed) and its reason",
    ["job_namespace", "phase", "reason"],
)
TRAINING_SECONDS = Counter(
    "gpu_relay_training_seconds",
    "Seconds that training pods ran in attempts that ended; those of Workloads as far as one process observed them",
    ["job_namespace", "gpu"],
)
GPU_SECONDS = Counter(
    "gpu_relay_gpu_seconds",
    "Seconds that GPUs had an owner, by use: turn (of a job of this namespace), reload (after it, until the resident "
    "is loaded or the next turn begins), resident; as far as one process observed them",
    ["gpu", "use", "job_namespace"],
)
GPU_INFO = Gauge("gpu_relay_gpu_info", "1 for each GPU: its node, and its name as NVML has it", ["gpu", "node", "name"])
TURNS = Counter(
    "gpu_relay_turns", "Turns that began, by the kind of the owner (yolotrainingjob or workload)", ["gpu", "kind"]
)
STEP_SECONDS = Histogram(
    "gpu_relay_step_seconds",
    "Seconds of the steps of a turn: unload, prove (enough free memory in several samples in a row), create (the pod), "
    "start (until it runs), return (from the pod's end to the Lease's return), load",
    ["step"],
    buckets=_FAST,
)
RESIDENT_OUT = Gauge(
    "gpu_relay_resident_out", "1 while the resident is unloaded for a turn, or its reload is pending", ["gpu"]
)
RESIDENT_OUTAGE = Histogram(
    "gpu_relay_resident_outage_seconds",
    "Seconds from the first turn of an outage until the resident is loaded again",
    ["gpu"],
    buckets=_SLOW,
)
FREE_MEMORY = Gauge("gpu_relay_free_memory_mib", "Free GPU memory at the last measurement, in MiB", ["gpu"])
FREE_BEFORE = Gauge(
    "gpu_relay_free_memory_before_mib", "Free GPU memory before the last turn's unload, in MiB", ["gpu"]
)
FREE_AFTER = Gauge(
    "gpu_relay_free_memory_after_mib",
    "Free GPU memory measured before the last training pod was created, in MiB",
    ["gpu"],
)
LOAD_FAILURES = Counter("gpu_relay_resident_load_failures", "Loads of a resident that failed", ["gpu"])
API_REQUESTS = Counter("gpu_relay_api_requests", "Requests to the Kubernetes API", ["method", "status"])
RESIDENT_REQUESTS = Counter("gpu_relay_resident_requests", "Requests to residents", ["call", "status"])
PASS_SECONDS = Histogram("gpu_relay_pass_seconds", "Seconds of one reconcile of one GPU", buckets=_FAST)
PASS_ERRORS = Counter(
    "gpu_relay_pass_errors",
    "Reconciles, or parts of one that concern a single object, that failed with an error and were retried",
    ["key"],
)
LEADER = Gauge("gpu_relay_leader", "1 while this operator leads, 0 while it stands by")
RESYNC_AGE = Gauge("gpu_relay_resync_age_seconds", "Seconds since the last full list was read")
WATCH_LAG = Gauge(
    "gpu_relay_watch_lag_seconds",
    "Seconds since a full list showed something that the watches have not reported yet",
)
WORK_OVERDUE = Gauge(
    "gpu_relay_work_overdue_seconds", "Seconds that the oldest due item of the work queue has been waiting"
)


def describe_gpu(gpu: str, node: str, name: str) -> None:
    """Set the node and the name of a GPU, in place of earlier ones."""
    if _described.get(gpu) != (node, name):
        if gpu in _described:
            GPU_INFO.remove(gpu, *_described[gpu])
        _described[gpu] = (node, name)
        GPU_INFO.labels(gpu, node, name).set(1)


def count_gpu_seconds(lease: GpuLease, until: datetime) -> None:
    """Count the time of a GPU's owner since the last call for this GPU."""
    begin = _counted.get(lease.gpu, until)
    _counted[lease.gpu] = until
    owner = lease.owner or JobKey.from_holder(lease.reload_pending)
    use = "turn" if lease.owner is not None else "reload" if owner is not None else "resident"
    if until > begin:
        namespace = owner.namespace if owner is not None else ""
        GPU_SECONDS.labels(lease.gpu, use, namespace).inc((until - begin).total_seconds())


_counted: dict[str, datetime] = {}
"""Until when the seconds of each GPU are counted."""
_described: dict[str, tuple[str, str]] = {}


def count_api_request(method: str, status: str) -> None:
    """Count a request to the Kubernetes API."""
    API_REQUESTS.labels(method, status).inc()
