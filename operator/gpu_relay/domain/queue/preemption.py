"""Which running job a waiting one preempts: by opt-in, through a checkpoint, and never in turns.

A waiting job preempts if its priority is higher, it could start immediately, and no GPU becomes free for it by itself.
A GPU that is out of use does not: its node takes no pods, other processes hold its memory, or its resident is silent.
A job that has failed an attempt does not preempt again: it could stop other jobs repeatedly without progress.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from gpu_relay.api.words import YIELDED_REASONS, Phase, Reason
from gpu_relay.domain.objects.checked_workload import CheckedWorkload
from gpu_relay.domain.objects.demand import Demand
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.queue.candidate import Candidate, blocked_reason, filter_reason
from gpu_relay.domain.queue.claim import Claim
from gpu_relay.domain.queue.placement import Placement
from gpu_relay.domain.turn_view import Preemptor

OutOfUse = Collection[tuple[str, Demand]]
"""GPUs that are out of use for jobs of a demand."""
_OUT_OF_USE = frozenset({Reason.NODE_UNAVAILABLE, Reason.RESIDENT_UNREACHABLE, Reason.WAITING_FOR_MEMORY})
_HARMLESS_ENDS = YIELDED_REASONS | {Reason.INTERRUPTED}


def out_of_use(waiting: Sequence[Claim], candidates: Sequence[Candidate], now: datetime, policy: Policy) -> OutOfUse:
    """Return which GPUs are out of use now; that may be for a moment."""
    demands = {job.demand: job for job in waiting}
    return frozenset(
        (each.gpu, demand)
        for demand, job in demands.items()
        for each in candidates
        if (blocked := blocked_reason(job.demand, each, now, policy)) is not None and blocked[0] in _OUT_OF_USE
    )


def preemptors(
    placements: Sequence[Placement],
    candidates: Sequence[Candidate],
    owners: Mapping[str, Job],
    policy: Policy,
    unused: OutOfUse = (),
) -> dict[str, Preemptor]:
    """Return the waiting job that preempts the owner of a GPU, by GPU.

    `owners` are jobs by Lease holder. `unused` are GPUs that have been out of use for long.
    """
    found: dict[str, Preemptor] = {}
    taken = {each.gpu for placement in placements for each in placement.gpus}
    for placement in placements:
        waiting = placement.claim
        if placement.gpu is not None or placement.reason not in {Reason.WAITING_IN_QUEUE, *_OUT_OF_USE}:
            continue
        open_ones = (each for each in candidates if each.gpu not in taken)
        left = [each for each in open_ones if filter_reason(waiting.demand, each, policy) is None]
        coming = next(
            (each for each in left if _comes_free(each, owners) and (each.gpu, waiting.demand) not in unused), None
        )
        if coming is not None:
            taken.add(coming.gpu)
            continue
        victims = [(_order(owner), each.gpu) for each in left if (owner := _victim(each, owners, waiting)) is not None]
        if victims and _may_preempt(waiting):
            gpu = min(victims)[1]
            taken.add(gpu)
            found[gpu] = Preemptor(str(waiting.key), waiting.priority)
    return found


def _may_preempt(job: Claim) -> bool:
    """True for a job that starts immediately and has not failed yet. Workloads preempt in Kueue, not here."""
    if isinstance(job, CheckedWorkload):
        return False
    harmless = not job.status.attempts or job.status.attempts[-1].reason in _HARMLESS_ENDS
    return harmless and job.spec.gpu.start_when == "Immediately"


def _victim(candidate: Candidate, owners: Mapping[str, Job], waiting: Claim) -> Job | None:
    owner = owners.get(candidate.lease.holder) if candidate.lease else None
    if owner is None or not owner.spec.preemptible or owner.spec.priority >= waiting.priority:
        return None
    return owner


def _order(owner: Job) -> tuple[bool, int, float, str]:
    """Return the order of preemption: (1) already stopping, (2) lowest priority, (3) latest start, (4) UID."""
    turn = owner.status.turn
    stops = turn is not None and turn.stopping == Reason.PREEMPTED
    began = parse_time(turn.since).timestamp() if turn else float("inf")
    return (not stops, owner.spec.priority, -began, owner.key.uid)


def _comes_free(candidate: Candidate, owners: Mapping[str, Job]) -> bool:
    """True if the turn of a GPU ends anyway: no other job need stop for it."""
    if candidate.lease is not None and candidate.lease.owner is not None and candidate.lease.owner.is_workload:
        return False
    owner = owners.get(candidate.lease.holder) if candidate.lease else None
    if owner is None:
        return True
    stopping = owner.status.turn.stopping if owner.status.turn else None
    return owner.status.phase == Phase.RELEASING or stopping not in {None, Reason.PREEMPTED}
