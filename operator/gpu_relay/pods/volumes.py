"""The volumes of a job's pod, and their mounts in the trainer's container."""

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import ClaimSource
from gpu_relay.clients.kube import Object
from gpu_relay.domain.job.attempts import OUTPUT_MOUNT
from gpu_relay.domain.objects.job import Job
from gpu_relay.pods.job_file import DATA_MOUNT, JOB_DIR


def volumes(job: Job) -> list[Object]:
    """Return the volumes of a job's pod: the job file, the data, the output, and writable folders."""
    annotation = f"metadata.annotations['{words.ANNOTATION_JOB_FILE}']"
    data, output = job.spec.dataset.persistent_volume_claim, job.spec.output.persistent_volume_claim
    return [
        {"name": "job", "downwardAPI": {"items": [{"path": "job.json", "fieldRef": {"fieldPath": annotation}}]}},
        *([] if data is None else [_claim_volume("data", data)]),
        *([] if _shares_volume(job) else [_claim_volume("output", output)]),
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]


def _claim_volume(name: str, claim: ClaimSource | None) -> Object:
    """Return a volume of a PVC; without a PVC, results are made on the node's disk and published to a URI."""
    if claim is None:
        return {"name": name, "emptyDir": {}}
    return {"name": name, "persistentVolumeClaim": {"claimName": claim.claim_name}}


def _shares_volume(job: Job) -> bool:
    """Return whether one PVC holds data and results: a pod must not name it twice."""
    data = job.spec.dataset.persistent_volume_claim
    return data is not None and data == job.spec.output.persistent_volume_claim


def mounts(job: Job) -> list[Object]:
    """Return the mounts of these volumes in the trainer's container."""
    data = {"name": "data", "mountPath": DATA_MOUNT, "readOnly": True}
    return [
        {"name": "job", "mountPath": JOB_DIR, "readOnly": True},
        *([data] if job.spec.dataset.persistent_volume_claim else []),
        {"name": "data" if _shares_volume(job) else "output", "mountPath": OUTPUT_MOUNT},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
