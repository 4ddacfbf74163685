"""What a reconcile of a Workload's GPU reads, and in which order: its pods appear as soon as its check is Ready."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_relay.controllers.observation import survey
from gpu_relay.domain.objects.checked_workload import CheckedWorkload, CheckEntry
from gpu_relay.domain.objects.owner import JobKey
from tests.support.builders import FENCE, lease, pod

OWNER = JobKey("vision", "wide", "uid-wide", kind="workload")
PENDING = CheckEntry("gpu-relay", "Pending")
READY = CheckEntry("gpu-relay", "Ready", "", frozenset({("gpu-1", FENCE)}), 14_910)
WORKLOAD = CheckedWorkload(OWNER, "1", "2026-01-01T00:00:00Z", PENDING, need_mib=10_240, reserved=True)


async def _no_resident(_: object) -> tuple[object, ...]:
    return ()


class Cluster:
    """A Workload that has these entries of the check, one after the other, and its pods."""

    def __init__(self, *entries: CheckEntry, pods: int = 1) -> None:
        self.entries = list(entries)
        self.pods = tuple(pod(phase="Pending") for _ in range(pods))
        clock = SimpleNamespace(monotonic=lambda: 0.0)
        directory = SimpleNamespace(on_gpu=_no_resident)
        self.effects: Any = SimpleNamespace(checks=self, nodes=self, pods=self, directory=directory, clock=clock)

    async def get(self, owner: JobKey) -> CheckedWorkload:
        return replace(WORKLOAD, entry=self.entries.pop(0))

    async def state(self, node: str, age: float) -> None:
        return None

    async def on_gpu(self, _: object) -> tuple[object, ...]:
        return self.pods


@pytest.mark.parametrize(
    ("cluster", "entry"),
    [
        (Cluster(PENDING, READY), READY),
        (Cluster(PENDING, PENDING), PENDING),
        (Cluster(READY), READY),
        (Cluster(PENDING, pods=0), PENDING),
    ],
    ids=["another turn has just set it to Ready", "a pod without a right", "it was Ready", "no pod"],
)
async def test_a_pod_is_judged_by_a_workload_that_was_read_after_it(cluster: Cluster, entry: CheckEntry) -> None:
    """With several GPUs, the turn of another one sets the check to Ready between two reads of this one."""
    seen = await survey(cluster.effects, lease(OWNER))
    assert seen.workload is not None
    assert seen.workload.entry == entry
    assert cluster.entries == []
