"""Events of the tenant's pods: what others put into them, refuse, or write on them."""

import json
from random import Random

from gpu_relay.clients.kube import KubeError
from tests.chaos.jobs import begin_training, meets, training_pods
from tests.chaos.kubelet import with_sidecar
from tests.chaos.proxy import Call, Canned, Fate
from tests.chaos.stage import Stage

_LASTS = 8.0
_DIGITS = "9" * 30
_TAMPERED = (
    {"annotations": {"gpurelay.dev/proven-free-mib": "9" * 5000}},
    {"labels": {"gpurelay.dev/attempt": _DIGITS}},
    {"labels": {"gpurelay.dev/fence": _DIGITS}},
    {"labels": {"gpurelay.dev/sharing": "coresident"}},
)


async def sidecar_crashes(stage: Stage, draw: Random) -> None:
    """From now on a webhook adds a container to the tenant's pods that fails while the trainer runs."""
    _inject(stage, "crashes")
    await stage.apply("sidecar-crashes")


async def sidecar_outlives(stage: Stage, draw: Random) -> None:
    """From now on a webhook adds a container to the tenant's pods that ends only when the pod is deleted."""
    _inject(stage, "outlives")
    await stage.apply("sidecar-outlives")


async def webhook_down(stage: Stage, draw: Random) -> None:
    """The webhook that is called for each pod of the tenant does not answer for a while."""
    message = 'Internal error occurred: failed calling webhook "pods.example.com": connection refused'
    failure = Fate(instead=Canned(500, {"kind": "Status", "reason": "InternalError", "message": message}))

    def fails(call: Call) -> Fate | None:
        return failure if _creates_pod(stage, call) else None

    with stage.happenings.concerns_tenant(stage.name, "the webhook for pods fails"):
        stage.fates.append(fails)
        await meets(stage, "webhook-down", _LASTS)
        stage.fates.remove(fails)


async def quota_full(stage: Stage, draw: Random) -> None:
    """A ResourceQuota of the tenant allows no further pod for a while."""
    quotas = f"/api/v1/namespaces/{stage.name}/resourcequotas"
    await stage.api.create(quotas, {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}})
    with stage.happenings.concerns_tenant(stage.name, "the quota of pods is full"):
        await meets(stage, "quota-full", _LASTS)
    await stage.api.remove(f"{quotas}/full")


async def labels_tampered(stage: Stage, draw: Random) -> None:
    """The tenant changes a label or an annotation of his own training pod, unless a policy forbids it."""
    stage.happenings.unjudged.add("tampered")
    await begin_training(stage, "tampered")
    meta = draw.choice(_TAMPERED)
    for pod in await training_pods(stage, "tampered"):
        try:
            await stage.api.merge(f"{stage.pods_path()}/{pod['metadata']['name']}", {"metadata": meta})
        except KubeError as error:
            if error.status not in {403, 404, 422}:
                raise


def _inject(stage: Stage, ends: str) -> None:
    def admit(call: Call, body: bytes) -> bytes:
        return json.dumps(with_sidecar(json.loads(body), ends)).encode() if _creates_pod(stage, call) else body

    for proxy in stage.proxies.values():
        proxy.admit = admit


def _creates_pod(stage: Stage, call: Call) -> bool:
    return call.method == "POST" and call.path == stage.pods_path()
