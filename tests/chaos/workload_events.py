"""Events of plain Jobs and of their Workloads in Kueue: what users and administrators do to them while they run."""

import asyncio
from random import Random

from gpu_relay.clients.kube import Object
from tests.chaos.plain_jobs import JOB_NAME
from tests.chaos.stage import Stage

_LOOKS, _LOOK = 60, 0.1
_ORPHANED = 0.3


async def job_deleted(stage: Stage, draw: Random) -> None:
    """A Job is deleted while its pod runs; sometimes without its pod and its Workload."""
    name = await _running(stage)
    await stage.plain.delete(name, orphan=draw.random() < _ORPHANED)


async def job_suspended(stage: Stage, draw: Random) -> None:
    """A user suspends a running Job; Kueue resumes it, since it is admitted."""
    await stage.plain.change(await _running(stage), suspend=True)


async def pod_deleted(stage: Stage, draw: Random) -> None:
    """A user deletes the pod of a Job; the Job controller creates another one."""
    name = await _running(stage)
    for pod in await stage.plain.pods():
        if pod["metadata"]["labels"][JOB_NAME] == name and pod["status"].get("phase") == "Running":
            await stage.api.remove(f"{stage.pods_path()}/{pod['metadata']['name']}")


async def workload_deactivated(stage: Stage, draw: Random) -> None:
    """A Workload is deactivated while its pod runs, and activated again."""
    workload = await _workload(stage)
    if workload is not None:
        path = f"{stage.plain.workloads_path}/{workload['metadata']['name']}"
        await stage.api.merge(path, {"spec": {"active": False}})
        await asyncio.sleep(draw.uniform(0.1, 4.0))
        await stage.api.merge(path, {"spec": {"active": True}})


async def workload_deleted(stage: Stage, draw: Random) -> None:
    """A Workload is deleted while its pod runs; Kueue stops the Job and creates another Workload."""
    workload = await _workload(stage)
    if workload is not None:
        await stage.api.remove(f"{stage.plain.workloads_path}/{workload['metadata']['name']}")


async def workload_evicted(stage: Stage, draw: Random) -> None:
    """A Workload is evicted by hand: its check stays Ready, as no eviction by Kueue leaves it."""
    await stage.plain.set_conditions(await _running(stage), {}, ("Evicted", "True", "Preempted"))


async def quota_withdrawn(stage: Stage, draw: Random) -> None:
    """The quota of a running Workload is withdrawn by hand; its check stays Ready."""
    lost = (("QuotaReserved", "False", "Pending"), ("Admitted", "False", "NoReservation"))
    await stage.plain.set_conditions(await _running(stage), {"admission": None}, *lost)


async def cluster_queue_drained(stage: Stage, draw: Random) -> None:
    """An administrator stops the ClusterQueue, which evicts its Workloads, and starts it again."""
    await _running(stage)
    await stage.api.merge(stage.plain.queue_path, {"spec": {"stopPolicy": "HoldAndDrain"}})
    await asyncio.sleep(draw.uniform(0.2, 5.0))
    await stage.api.merge(stage.plain.queue_path, {"spec": {"stopPolicy": "None"}})


async def _running(stage: Stage) -> str:
    """Name a Job whose pod runs, waiting a little for one; or any other."""
    for _ in range(_LOOKS):
        for pod in await stage.plain.pods():
            if pod["status"].get("phase") == "Running":
                return str(pod["metadata"]["labels"][JOB_NAME])
        await asyncio.sleep(_LOOK)
    return next((str(job["metadata"]["name"]) for job in await stage.plain.jobs()), "plain-0")


async def _workload(stage: Stage) -> Object | None:
    return await stage.plain.workload_of(await _running(stage))
