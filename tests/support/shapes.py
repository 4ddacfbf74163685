"""Pods as the operator creates them, for a job that exists: built by its own code."""

from typing import Any

from devcluster.scripted.manifests import Object
from gpu_relay.api.v1alpha1 import YoloTrainingJobSpec, YoloTrainingJobStatus
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.objects.job import Job, JobKey
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.resident import GpuReport, Resident
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod, training_pod

_LEASE = GpuLease("gpu-1", "1", "gpu-1", "h", 7, None, "key", "node-1", "")
_REPORT = GpuReport("GPU-1", "T4", 15360, 450, 0, 14910, 14000, False, "unloaded", None)
_RESIDENT = Resident("vision", "sam3", "u", "node-1", "http://10.0.0.7:8000", {}, _REPORT)


def training(job: Object, template: Object | None = None, **step: Any) -> Object:
    """Return the training pod of a job, with every label and annotation that a training pod can have."""
    step = {"coresident": True, "proven_mib": 10_500, **step}
    return training_pod(_job(job), _LEASE, _RESIDENT, CreatePod(1, 8, **step), _defaults(template))


def preparing(job: Object, template: Object | None = None) -> Object:
    """Return the preparing pod of a job."""
    return preparing_pod(_job(job), 1, Place(("node-1",)), _defaults(template))


def _job(item: Object) -> Job:
    meta = item["metadata"]
    key = JobKey(meta["namespace"], meta["name"], meta["uid"])
    spec = YoloTrainingJobSpec.model_validate(item["spec"])
    return Job(key, 1, "1", "2026-01-01T00:00:00Z", False, spec, YoloTrainingJobStatus())


def _defaults(template: Object | None) -> TrainerDefaults:
    return TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60, template=template or {})
