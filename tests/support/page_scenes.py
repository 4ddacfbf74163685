"""What the page is shown in: jobs and Leases as an operator would have left them, written to the real API server."""

import random
from typing import Any

import httpx

from devcluster.scripted.manifests import Object
from gpu_relay.domain.job.metrics_curve import Point, written
from tests.support.ages import Etcd
from tests.support.page import ago, condition, put_job

EPOCHS = 120
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases"
_TOO_MUCH = (
    "out of GPU memory before the first epoch, with 64 images per batch: 10240 MiB were granted; the training's peak "
    "was 10198 MiB. Ask for more gpu.memory, or for a smaller batch or imageSize."
)
_THINGS = ("forklifts", "pallets", "helmets", "digits", "cranes", "barcodes", "vests", "trucks")


class Scene:
    """A namespace's jobs, and the GPUs that they use."""

    def __init__(self, api: httpx.Client, etcd: Etcd, namespace: str) -> None:
        self._api = api
        self._etcd = etcd
        self._namespace = namespace
        self._created: set[str] = set()

    def clear(self) -> None:
        """Take away all jobs and Leases."""
        self._created.clear()
        for path in (f"/apis/gpurelay.dev/v1alpha1/namespaces/{self._namespace}/yolotrainingjobs", _LEASES):
            self._api.delete(path)

    def lease(self, node: int, holder: str = "", since: float = 40) -> None:
        """Write the Lease of a node's GPU; `holder` is a job's name, none is the resident."""
        owner = f"yolotrainingjob/{self._namespace}/{holder}/{self._uid(holder)}" if holder else "resident"
        labels = {"gpurelay.dev/gpu": _key(node)}
        annotations = {"gpurelay.dev/node": f"node-{node}"} | ({"gpurelay.dev/out-since": ago(since)} if holder else {})
        meta = {"name": _key(node), "labels": labels, "annotations": annotations}
        acquired = ago(since).replace("Z", ".000000Z")
        spec = {"holderIdentity": owner, "leaseTransitions": 5, "acquireTime": acquired}
        self._api.post(_LEASES, json={"metadata": meta, "spec": spec}).raise_for_status()

    def queued(self, name: str, position: int, *, starts_in: float = 61) -> None:
        """A job that waits."""
        why = condition("Reconciling", "WaitingInQueue", f"{position} jobs are before this one")
        self._put(
            name, "Queued", [why], age=max(2, 50 - position), queuePosition=position, estimatedStartTime=ago(-starts_in)
        )

    def acquiring(self, name: str, node: int = 1) -> None:
        """A job for which the resident is being unloaded."""
        said = f"asking resident gpu-relay/sam3-{node} to unload (910 MiB free, 10,240 MiB needed)"
        why = condition("Reconciling", "UnloadingResident", said)
        self._put(
            name, "Acquiring", [why], age=12, gpu=_gpu(node, measured=False), turn={"fence": 5, "since": ago(0.3)}
        )

    def training(self, name: str, node: int = 1, *, epoch: int = 47, since: float = 38.5) -> None:
        """A job that trains. The half minute keeps the age that is shown the same for as long as a test looks."""
        why = condition("Reconciling", "TrainingRunning", f"{name}-1 trains: epoch {epoch}/{EPOCHS}")
        proof = condition("GPUAcquired", "MemoryProven", "14,910 MiB measured free, 10,240 MiB needed")
        progress = _progress(epoch, "training", metrics=dict(_learning(epoch)[-1].metrics))
        progress["eta"] = ago(-since * (EPOCHS - epoch) / epoch)
        turn = {"fence": 5, "since": ago(since)}
        self._put(name, "Training", [why, proof], age=since + 6, gpu=_gpu(node), turn=turn, progress=progress,
                   curve=course(epoch), pod=f"{name}-1", attempt=1)  # fmt: skip

    def succeeded(self, name: str, began: float, ended: float, node: int = 1) -> None:
        """A job that trained from so many minutes ago until so many minutes ago."""
        metrics = {"mAP50": 0.912, "mAP50_95": 0.644}
        results = {"metrics": metrics, "weights": {"best": f"{name}/best.pt"}, "exports": {"onnx": f"{name}/best.onnx"}}
        why = condition("Complete", "Completed", f"trained {EPOCHS} of {EPOCHS} epochs")
        attempts = [_attempt(1, "Completed", began, ended, node, "trained to the end", EPOCHS)]
        self._put(name, "Succeeded", [why], age=began + 7, gpu=_gpu(node), attempts=attempts, completionTime=ago(ended),
                   progress=_progress(EPOCHS, "done"), results=results, curve=course(EPOCHS))  # fmt: skip

    def failed(self, name: str, began: float, ended: float, node: int = 1) -> None:
        """A job that ran out of memory twice."""
        why = condition(
            "Stalled", "BackoffLimitExceeded", f"2 attempts failed, backoffLimit is 1; the last one: {_TOO_MUCH}"
        )
        middle = (began + ended) / 2
        attempts = [
            _attempt(1, "OutOfMemory", began, middle + 1, node, _TOO_MUCH, 0),
            _attempt(2, "OutOfMemory", middle - 1, ended, node, _TOO_MUCH, 0),
        ]
        self._put(name, "Failed", [why], age=began + 4, gpu=_gpu(node), attempts=attempts, completionTime=ago(ended),
                   progress=_progress(0, "training"))  # fmt: skip

    def suspended(self, name: str, began: float, ended: float, node: int = 1) -> None:
        """A job that was stopped on request."""
        why = condition("Suspended", "Suspended", "spec.suspend is true; set it to false to resume")
        attempts = [_attempt(1, "Interrupted", began, ended, node, "asked to end; 31 epochs are in the checkpoint", 31)]
        self._put(name, "Suspended", [why], age=began + 9, gpu=_gpu(node), attempts=attempts,
                   progress=_progress(31, "training"), curve=course(31))  # fmt: skip

    def past(self) -> None:
        """Let a day's work lie behind: two GPUs that serve, four jobs."""
        self.succeeded("forklifts-v3", 330, 260)
        self.failed("pallets-big-batch", 240, 226)
        self.succeeded("forklifts-v4", 190, 95)
        self.succeeded("helmets-v1", 280, 130, node=2)
        self.suspended("labels-night", 88, 60)
        self.lease(2)

    def crowd(self, gpus: int = 50, jobs: int = 500) -> None:
        """Many GPUs with a day behind them, and a long queue."""
        chance, ended = random.Random(7), 0
        for node in range(1, gpus + 1):
            time, turn = 24 * 60 - chance.uniform(0, 90), 0
            while time > 60 and turn < 6:
                name, length = f"{chance.choice(_THINGS)}-{node}-{turn}", min(time - 42, chance.uniform(30, 320))
                end = self.failed if chance.random() < 0.13 else self.succeeded
                end(name, time, time - (15 if end == self.failed else length), node)
                time, turn, ended = time - length - chance.uniform(5, 60), turn + 1, ended + 1
            self.lease(node, *self._present(chance, node))
        for position in range(1, jobs - ended - gpus + 1):
            self.queued(f"{chance.choice(_THINGS)}-q{position}", position, starts_in=10 + 3 * position)

    def _present(self, chance: random.Random, node: int) -> tuple[str, float]:
        """Let a GPU have a job or not; returns the job and since when it has the GPU."""
        name = f"{chance.choice(_THINGS)}-{node}-now"
        kind = chance.random()
        if kind < 0.7:
            since = chance.uniform(2, 40)
            self.training(name, node, epoch=chance.randint(3, 118), since=since)
            return name, since
        if kind < 0.8:
            self.acquiring(name, node)
            return name, 0.3
        self.suspended(name, 40, 20, node)
        return "", 20

    def _uid(self, name: str) -> str:
        return str(put_job(self._api, self._namespace, name)["metadata"]["uid"])

    def _put(self, name: str, phase: str, conditions: list[Object], *, age: float, **status: Any) -> None:
        put_job(self._api, self._namespace, name, phase=phase, conditions=conditions, **status)
        if name not in self._created:
            self._etcd.backdate(self._namespace, name, age)
            self._created.add(name)


def course(epochs: int) -> Object:
    """Return the course of a training that learns, as its status has it."""
    curve = written(_learning(epochs))
    assert curve is not None
    return curve.model_dump(mode="json", by_alias=True)


def _learning(epochs: int) -> list[Point]:
    noise = random.Random(4)
    points = []
    for epoch in range(2, epochs + 1, 2):
        learnt = 1 - 2.718 ** (-4.5 * epoch / EPOCHS)
        wobble = noise.uniform(-0.02, 0.02) * (1 - epoch / EPOCHS)
        metrics = {"mAP50": round(0.92 * learnt + wobble, 4), "mAP50_95": round(0.66 * learnt**1.3 + wobble, 4)}
        left = 1 - learnt
        losses = {"box": 0.72 + 2.3 * left, "cls": 0.41 + 3.4 * left**1.4, "dfl": 0.93 + 0.8 * left}
        points.append(Point(epoch, metrics, losses))
    return points


def _key(node: int) -> str:
    return f"gpu-5f0c{node:04d}-0000-4000-8000-000000000000"


def _gpu(node: int, *, measured: bool = True) -> Object:
    after = {"freeAfter": 14910} if measured else {}
    return {
        "node": f"node-{node}", "uuid": _key(node).replace("gpu", "GPU"), "name": "Tesla T4", "total": 15360,
        "resident": f"gpu-relay/sam3-{node}", "needed": 10240, "freeBefore": 910, **after,
    }  # fmt: skip


def _progress(epoch: int, stage: str, **more: Any) -> Object:
    return {"epoch": epoch, "epochs": EPOCHS, "summary": f"{epoch}/{EPOCHS}", "stage": stage, **more}


def _attempt(number: int, reason: str, began: float, ended: float, node: int, message: str, epoch: int) -> Object:
    return {
        "number": number, "pod": f"p-{number}", "fence": number, "gpu": _key(node), "reason": reason,
        "message": message, "exitCode": 0, "epoch": epoch, "batch": 64 // number, "startTime": ago(began),
        "completionTime": ago(ended),
    }  # fmt: skip
