"""Events of nodes, GPUs and residents."""

import asyncio
import uuid
from random import Random

from devcluster.scripted.resident import ScriptedResident
from tests.chaos.jobs import meets, training_on
from tests.chaos.proxy import Call, Canned, Fate
from tests.chaos.residents import ResidentPod
from tests.chaos.stage import Stage

_LASTS = 10.0
_UNREADABLE = 20.0
_LOOK, _LOOKS = 0.1, 100
_RECOVERY = 4.0
"""Seconds in which a call that hangs ends, and the next one is made: one request's time limit and a second."""
_HELD = 1.5
"""Seconds after which a second resident pod of a GPU must be under the hold of the turn."""
_FOR_GOOD = 0.5
_SMALL_MODEL, _NOTEBOOK, _TAKEN = 8000, 6500, 6000
"""MiB. A notebook leaves too little for a job, however large the context of the resident is."""


async def node_replaced(stage: Stage, draw: Random) -> None:
    """The node goes with its GPU and all its pods; the resident comes back on a new node with another GPU."""
    async with stage.changing:
        pod = _resident(stage, draw)
        await training_on(pod)
        await stage.lenders.remove(pod)
        stage.lenders.end_gpu(pod.scripted)
        await stage.nodes.remove(pod.node)
        for namespace in stage.tenants:
            await _delete_pods_of(stage, namespace, pod.node)
        await asyncio.sleep(draw.uniform(0.3, 1.5))
        await stage.lenders.open(await stage.nodes.add(), gpu=_uuid(draw))


async def uuid_changed(stage: Stage, draw: Random) -> None:
    """The GPU is reset: trainers on it die, and the resident's next process reports another UUID."""
    async with stage.changing:
        pod = _resident(stage, draw)
        await training_on(pod)
        stage.restarted = True
        for kubelet in (stage.kubelet, stage.neighbour):
            kubelet.kill(pod.node)
        for _ in range(_LOOKS):
            if pod.scripted.trainer_mib == 0:
                break
            await asyncio.sleep(_LOOK)
        stage.lenders.rename_gpu(pod, _uuid(draw))


async def resident_rolled_out(stage: Stage, draw: Random) -> None:
    """The resident's pod is replaced, the old one first, as the Deployment's strategy Recreate does."""
    async with stage.changing:
        pod = _resident(stage, draw)
        stage.restarted = True
        with stage.happenings.concerns_gpu(pod.gpu, silent=True, after=_RECOVERY):
            await stage.lenders.remove(pod)
            stage.lenders.restart(pod.scripted)
            await stage.apply("meets-no-resident")
            await asyncio.sleep(draw.uniform(0.2, 1.5))
            await stage.lenders.open(pod.node, pod.scripted)


async def resident_surges(stage: Stage, draw: Random) -> None:
    """A second pod of the resident shares the GPU for a while, loads when it may, and stays when the first one goes."""
    async with stage.changing:
        first = _resident(stage, draw)
        stage.restarted = True
        old = first.scripted
        new = ScriptedResident(uuid=old.uuid, loaded=False, trainer_mib=old.trainer_mib)
        new.beside, old.beside = (lambda: _model(old)), (lambda: _model(new))
        await stage.lenders.open(first.node, new)
        await asyncio.sleep(_HELD)
        await stage.apply("meets-two-residents")
        for _ in range(int(draw.uniform(6.0, 9.0) / _LOOK)):
            if stage.calm:
                await asyncio.to_thread(_load_unless_held, new)
            await asyncio.sleep(_LOOK)
        await stage.lenders.remove(first)
        stage.lenders.restart(old)
        stage.lenders.devices[first.gpu].remove(old)


async def resident_hangs(stage: Stage, draw: Random) -> None:
    """One resident accepts connections and answers none, beside a good one: for a while, or for good."""
    async with stage.changing:
        pod = _resident(stage, draw)
        for_good = draw.random() < _FOR_GOOD and not stage.plain.is_wide  # such a Job needs every GPU
        with stage.happenings.concerns_gpu(pod.gpu, silent=True, after=float("inf") if for_good else _RECOVERY):
            pod.fall_silent(Fate(hang=True))
            await meets(stage, "resident-hangs", _LASTS)
            if not for_good:
                pod.answer_again()


async def node_cordoned(stage: Stage, draw: Random) -> None:
    """An administrator cordons a node, and takes it back."""
    async with stage.changing:
        pod = _resident(stage, draw)
        with stage.happenings.concerns_gpu(pod.gpu, known="its node is cordoned"):
            await stage.nodes.change(pod.node, unschedulable=True)
            await meets(stage, "node-cordoned", _LASTS)
            await stage.nodes.change(pod.node, unschedulable=None)


async def node_tainted(stage: Stage, draw: Random) -> None:
    """An administrator taints a node, and takes the taint off."""
    async with stage.changing:
        pod = _resident(stage, draw)
        with stage.happenings.concerns_gpu(pod.gpu, known="its node is tainted"):
            await stage.nodes.change(pod.node, taints=[{"key": "maintenance", "effect": "NoSchedule"}])
            await meets(stage, "node-tainted", _LASTS)
            await stage.nodes.change(pod.node, taints=None)


async def no_share_free(stage: Stage, draw: Random) -> None:
    """The device plugin offers no share of a GPU for a while."""
    async with stage.changing:
        pod = _resident(stage, draw)
        with stage.happenings.concerns_gpu(pod.gpu, known="its node has no share of the GPU left"):
            await stage.nodes.offer(pod.node, 0)
            await meets(stage, "no-share-free", _LASTS)
            await stage.nodes.offer(pod.node, stage.nodes.shares)


async def memory_in_use(stage: Stage, draw: Random) -> None:
    """Beside a small model another process holds memory, which the resident's report shows."""
    async with stage.changing:
        pod = _resident(stage, draw)
        resident = pod.scripted
        for _ in range(_LOOKS):
            if resident.trainer_mib == 0:
                break
            await asyncio.sleep(_LOOK)
        with stage.happenings.concerns_gpu(pod.gpu, known="another process holds its memory"):
            resident.model_mib = resident.cap_mib = _SMALL_MODEL
            resident.other_mib = _NOTEBOOK
            await meets(stage, "memory-in-use", _LASTS)
            resident.other_mib = 0


async def memory_taken(stage: Stage, draw: Random) -> None:
    """Another process takes memory whenever the model leaves the GPU: neither training nor model has a place."""
    async with stage.changing:
        pod = _resident(stage, draw)
        with stage.happenings.concerns_gpu(pod.gpu):
            pod.scripted.faults.leak_mib = _TAKEN
            await meets(stage, "memory-taken", _LASTS)
            pod.scripted.faults.leak_mib = 0


async def node_unreadable(stage: Stage, draw: Random) -> None:
    """The API server refuses reads of one node, while a job with a nodeSelector is in the queue."""
    async with stage.changing:
        pod = _resident(stage, draw)
        body = {"kind": "Status", "reason": "Forbidden", "message": "injected: may not read the node"}
        refusal = Fate(instead=Canned(403, body))

        def refuses(call: Call) -> Fate | None:
            return refusal if call.path == f"/api/v1/nodes/{pod.node}" else None

        with stage.happenings.concerns_gpu(pod.gpu):
            stage.fates.append(refuses)
            await meets(stage, "selective", _UNREADABLE, podTemplate={"nodeSelector": {"kubernetes.io/os": "linux"}})
            stage.fates.remove(refuses)


def _resident(stage: Stage, draw: Random) -> ResidentPod:
    return draw.choice([pod for pod in stage.lenders.present if pod.silent_since is None])


def _uuid(draw: Random) -> str:
    return f"GPU-{uuid.UUID(int=draw.getrandbits(128))}"


def _model(resident: ScriptedResident) -> int:
    return resident.model_mib if resident.loaded else 0


def _load_unless_held(resident: ScriptedResident) -> None:
    """Load as a resident does that has a request, and no hold."""
    if not resident.loaded and resident.hold is None and resident.report()["free_mib"] >= resident.cap_mib:
        resident.before_load()
        resident.loaded = True


async def _delete_pods_of(stage: Stage, namespace: str, node: str) -> None:
    """Delete a node's pods at once, as the pod garbage collector does when their node is gone."""
    for pod in await stage.api.list(stage.pods_path(namespace), fields=f"spec.nodeName={node}"):
        await stage.api.remove(f"{stage.pods_path(namespace)}/{pod['metadata']['name']}", gracePeriodSeconds=0)
