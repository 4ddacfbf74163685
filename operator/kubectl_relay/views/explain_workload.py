"""Why a Workload of Kueue waits, or what happened to it, in sentences."""

from collections.abc import Iterator

from gpu_relay.api.words import Phase, Reason
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.domain.objects.represented import title
from gpu_relay.domain.quantities import mib, parse_time
from gpu_relay.domain.queue.placement import waits_since
from gpu_relay.overview.queue import fits_nowhere, positions
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.workloads import WorkloadState, state_of, turn_of
from kubectl_relay.views.explain import Explanation, ahead_of, before_it, gpu_owners, leaderless
from kubectl_relay.views.job_history import HistoryEntry
from kubectl_relay.views.times import span

_NO_CHANGE = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.RELEASING})


def explain_workload(snapshot: ClusterSnapshot, listed: ListedWorkload) -> Explanation:
    """Explain a Workload by its check and its conditions, and by the other objects that could be read."""
    state = state_of(listed, turn_of(listed, snapshot.leases))
    return Explanation(
        job=listed.key,
        phase=state.phase.value,
        reason=state.reason,
        headline=_headline(snapshot, listed, state),
        why=tuple(_why(snapshot, listed, state)),
        change=tuple(_advice(listed, state)),
        history=tuple(_history(snapshot, listed)),
        unknown=snapshot.unknown,
        represents=listed.represents,
    )


def _headline(snapshot: ClusterSnapshot, listed: ListedWorkload, state: WorkloadState) -> str:
    name, position = title(listed.key, listed.represents), positions(snapshot).get(listed.key.uid)
    waits = "Kueue to reserve quota for it" if state.reason == Reason.WAITING_FOR_KUEUE else "a GPU"
    ended = listed.finished_at
    ago = f" {span(snapshot.now - parse_time(ended))} ago" if ended else ""
    lines = {
        Phase.QUEUED: f"{name} waits for {waits}{f': number {position} in the queue' if position else ''}.",
        Phase.ACQUIRING: f"{name} has its turn, and waits for {_need(listed)} to be measured free on its GPU.",
        Phase.TRAINING: f"{name} has its turn: Kueue may run its pod.",
        Phase.RELEASING: f"{name} has ended its turn; the GPU is being returned.",
        Phase.SUCCEEDED: f"{name} has succeeded{ago}.",
        Phase.FAILED: f"{name} has failed{ago}.",
        Phase.SUSPENDED: f"{name} is deactivated.",
    }
    return f"{name} is being deleted." if listed.workload.deleting else lines[state.phase]


def _need(listed: ListedWorkload) -> str:
    return mib(listed.workload.need_mib) if listed.workload.need_mib else "its GPU memory"


def _why(snapshot: ClusterSnapshot, listed: ListedWorkload, state: WorkloadState) -> Iterator[str]:
    workload = listed.workload
    silent = leaderless(snapshot)
    if silent and not workload.finished:
        yield silent
    if state.message:
        said = state.message if state.message.endswith((".", "!", "?")) else f"{state.message}."
        yield f"{state.reason}: {said}" if state.reason else f"{said[0].upper()}{said[1:]}"
    if state.phase == Phase.QUEUED and workload.waits:
        yield f"It has waited for {span(snapshot.now - waits_since(workload))}."
        if not fits_nowhere(workload):
            yield from before_it(snapshot, ahead_of(snapshot, workload.key), workload.priority)
            yield from gpu_owners(snapshot, workload)


def _advice(listed: ListedWorkload, state: WorkloadState) -> Iterator[str]:
    workload = listed.workload
    if state.phase in _NO_CHANGE:
        return
    if state.phase == Phase.SUSPENDED:
        yield "spec.active: true in the Workload activates it."
    elif state.reason == Reason.WAITING_FOR_KUEUE:
        yield "Kueue admits it when quota of its LocalQueue is released, or increased."
    elif workload.objection:
        yield "Correct the pod template: Kueue then creates another Workload."
    elif fits_nowhere(workload):
        yield "Ask for less in the annotation gpurelay.dev/gpu-memory, or for other nodes; or add such a GPU."
        yield (
            f"If a resident does not lend its GPU to namespace {workload.key.namespace}: its pod's annotation "
            "gpurelay.dev/allowed-namespaces lists the namespaces that may borrow it."
        )
    elif state.phase == Phase.QUEUED:
        yield "It moves up when a job before it ends, is suspended or is deleted."
        yield "A WorkloadPriorityClass with a higher value takes it further to the front."
        namespace = workload.key.namespace
        yield f"Another GPU with a resident, which lends it to namespace {namespace}, would serve the queue faster."
    else:
        yield f"`kubectl -n {workload.key.namespace} describe workload {workload.key.name}` has Kueue's view of it."


def _history(snapshot: ClusterSnapshot, listed: ListedWorkload) -> list[HistoryEntry]:
    """Return what its conditions and Events record, oldest first."""
    events = (each for each in snapshot.events or () if each.uid == listed.key.uid)
    conditions = (each for each in listed.conditions if each.since and each.status == "True")
    found = [
        HistoryEntry(parse_time(listed.workload.created), "created", False),
        *(
            HistoryEntry(parse_time(each.since), f"{each.type}: {each.message}", each.type == "Evicted")
            for each in conditions
        ),
        *(HistoryEntry(each.at, f"{each.reason}: {each.message}", each.warning) for each in events),
    ]
    return sorted(found, key=lambda each: each.at)
