"""Jobs and Leases as the API server has them, read into what decisions, and people, need."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gpu_relay.api import words
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.domain.model import HOLDER_RESIDENT, GpuLease, Job, JobKey
from gpu_relay.domain.quantities import timestamp

Object = dict[str, Any]


def job_of(raw: Object) -> Job | None:
    """Read a YoloTrainingJob; None for one that the schema in the cluster lets pass and ours does not."""
    meta = raw["metadata"]
    try:
        spec = YoloTrainingJobSpec.model_validate(raw.get("spec", {}))
        status = YoloTrainingJobStatus.model_validate(raw.get("status", {}))
    except ValidationError:
        return None
    return Job(
        key=JobKey(meta["namespace"], meta["name"], meta["uid"]),
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        created=meta["creationTimestamp"],
        deleting="deletionTimestamp" in meta,
        spec=spec,
        status=status,
        local_queue=meta.get("labels", {}).get(words.LABEL_LOCAL_QUEUE, ""),
    )


def lease_of(raw: Object) -> GpuLease:
    """Read a GPU's Lease."""
    meta, spec = raw["metadata"], raw.get("spec", {})
    annotations = meta.get("annotations", {})
    acquired = spec.get("acquireTime")
    return GpuLease(
        name=meta["name"],
        resource_version=meta["resourceVersion"],
        gpu=meta["name"],
        holder=spec.get("holderIdentity", HOLDER_RESIDENT),
        fence=spec.get("leaseTransitions", 0),
        acquired=timestamp(datetime.fromisoformat(acquired)) if acquired else None,
        renew_key=annotations.get(words.ANNOTATION_RENEW_KEY, ""),
        node=annotations.get(words.ANNOTATION_NODE, ""),
        reload_owed=annotations.get(words.ANNOTATION_RELOAD_OWED, ""),
        out_since=annotations.get(words.ANNOTATION_OUT_SINCE),
        served_since=annotations.get(words.ANNOTATION_SERVED_SINCE),
    )
