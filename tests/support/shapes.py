"""Pods as the operator creates them, for a job that exists: built by its own code."""

from dataclasses import replace
from typing import Any

from devcluster.scripted.manifests import Object
from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.queue.preparation_placement import Place
from gpu_relay.pods.pod_builder import TrainerDefaults, preparing_pod, training_pod
from tests.support.builders import job, lease, report, resident

_LEASE = lease()
_RESIDENT = resident(report(), namespace="vision")


def training(manifest: Object, template: Object | None = None, **step: Any) -> Object:
    """Return the training pod of a job, with every label and annotation that a training pod can have."""
    step = {"coresident": True, "proven_mib": 10_500, **step}
    return training_pod(_job(manifest), _LEASE, _RESIDENT, CreatePod(1, 8, **step), _defaults(template))


def preparing(manifest: Object, template: Object | None = None) -> Object:
    """Return the preparing pod of a job."""
    return preparing_pod(_job(manifest), 1, Place(("node-1",)), _defaults(template))


def _job(item: Object) -> Job:
    meta = item["metadata"]
    return replace(job(**item["spec"]), key=JobKey(meta["namespace"], meta["name"], meta["uid"]))


def _defaults(template: Object | None) -> TrainerDefaults:
    return TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60, template=template or {})
