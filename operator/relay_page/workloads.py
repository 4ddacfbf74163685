"""Workloads of Kueue that have the operator's check, as the page shows them among the jobs: small JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from gpu_relay.api.words import ADMISSION_CONTROLLER, Phase
from gpu_relay.clients.resources import ADMISSION_CHECKS, WORKLOADS
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.listed_workload import KueueCondition, ListedWorkload
from gpu_relay.domain.quantities import mib, timestamp
from gpu_relay.domain.queue.order import queue_key
from gpu_relay.domain.untrusted import mapping
from gpu_relay.overview.workloads import state_of, turn_of, turns_of
from relay_page.viewer_client import ForbiddenError, NotFoundError, ViewerClient

Object = dict[str, Any]
Leases = Mapping[str, GpuLease] | None
_SENTENCE = 300


async def find_checks(client: ViewerClient) -> list[str] | None:
    """Return the names of the operator's AdmissionChecks, none without Kueue; None where they may not be read."""
    try:
        found, _ = await client.list(ADMISSION_CHECKS, None, "")
    except NotFoundError:
        return []
    except ForbiddenError:
        # The API server refuses the list of a kind that it does not know, too.
        return None if await client.serves(WORKLOADS) else []
    ours = (each for each in found if mapping(each.get("spec")).get("controllerName") == ADMISSION_CONTROLLER)
    return [each["metadata"]["name"] for each in ours]


def rows(
    workloads: Iterable[ListedWorkload], jobs: Iterable[Object], leases: Leases, *, everywhere: bool
) -> list[Object]:
    """Return the lines of Workloads.

    Their positions among `jobs`, which are the lines of YoloTrainingJobs, are known only where all can be read.
    """
    known = list(workloads)
    waiting = [each.workload for each in known if each.workload.waits and not turn_of(each, leases)]
    keys = [queue_key(each) for each in waiting]
    keys += [(-job["priority"], job["created"], job["uid"]) for job in jobs if job["position"] is not None]
    places = {key: place for place, key in enumerate(sorted(keys), start=1)} if everywhere else {}
    uids = {each.key.uid for each in waiting}
    return [row(each, leases, places.get(queue_key(each.workload)) if each.key.uid in uids else None) for each in known]


def row(listed: ListedWorkload, leases: Leases, position: int | None = None) -> Object:
    """Return a Workload's line, with the fields that a job's has: `shown` and `kind` are those of its Job."""
    workload, turns, represents = listed.workload, turns_of(listed, leases), listed.represents
    turn = next(iter(turns), None)
    state = state_of(listed, turn)
    gpus = [each.gpu for each in turns] or [gpu for gpu, _ in listed.pinned]
    node = turn.node if turn else listed.hosts.get(gpus[0], "") if gpus else ""
    return {
        "uid": listed.key.uid,
        "namespace": listed.key.namespace,
        "name": listed.key.name,
        "kind": represents.kind if represents else "Workload",
        "shown": represents.name if represents else listed.key.name,
        "version": f"{workload.resource_version}/{state.phase}/{position}",
        "created": workload.created,
        "phase": state.phase.value,
        "reason": state.reason,
        "message": state.message[:_SENTENCE],
        "priority": workload.priority,
        "need": mib(workload.need_mib) if workload.need_mib else "",
        "position": position,
        "expected": None,
        "gpu": {"uuid": gpus[0], "node": node, "name": None} if gpus else None,
        "gpus": gpus,
        "turn": {"since": timestamp(turn.since) if turn.since else listed.ready_since} if turn else None,
        "progress": None,
        "headline": None,
        "attempts": [_ended(listed, gpu) for gpu, _ in listed.pinned] if workload.finished else [],
        "ended": listed.finished_at,
    }


def details(listed: ListedWorkload, leases: Leases) -> Object:
    """Return what the page shows of the Workload that the viewer has opened."""
    line = row(listed, leases)
    facts = {"Workload": listed.key.name, "GPU memory": line["need"], "Priority": listed.workload.priority}
    state = state_of(listed, turn_of(listed, leases))
    return {
        **line,
        "why": state.message,
        "facts": facts,
        "conditions": [_condition(each) for each in listed.conditions],
    }


def _ended(listed: ListedWorkload, gpu: str) -> Object:
    """Return the last turn of a Workload that has finished, as an attempt of a job."""
    reason = "Completed" if listed.succeeded else Phase.FAILED.value
    return {"number": 1, "reason": reason, "start": listed.ready_since, "end": listed.finished_at, "gpu": gpu}


def _condition(condition: KueueCondition) -> Object:
    texts = {name: getattr(condition, name) for name in ("type", "status", "reason", "message")}
    return {**texts, "lastTransitionTime": condition.since}
