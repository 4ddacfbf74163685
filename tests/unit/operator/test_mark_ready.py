"""The check of a Workload becomes Ready on measurements of all its GPUs that are a moment old, or not (law 1)."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gpu_relay.clients.kube import KubeError
from gpu_relay.controllers.turn_actions import Actions
from gpu_relay.controllers.turn_state import LONGEST_GAP, TurnState
from gpu_relay.domain.decision import MarkReady, Pin, RemovePin
from gpu_relay.domain.turn_view import ProvenGpu
from tests.support import builders
from tests.support.builders import FENCE, FREE_MIB
from tests.unit.operator.test_workload_turn import KEY, view, workload

SECOND = ProvenGpu("gpu-2", FENCE + 1, "GPU-2", "node-2", "node-2.example", FREE_MIB - 1)
FIRST = ProvenGpu("gpu-1", FENCE, "GPU-1", "node-1", "node-1.example", FREE_MIB)
STEP = MarkReady(workload(), "free", (Pin("main", (FIRST, SECOND)),))


@dataclass
class World:
    """Two GPUs of a Workload, whose measurements are so many seconds old, and what the API server is sent."""

    ages: tuple[float, float] = (0.0, 0.0)
    error: KubeError | None = None
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first, self.second = (
            TurnState(builders.lease(KEY, gpu), monotonic=lambda: 1000.0) for gpu in ("gpu-1", "gpu-2")
        )
        self.first.reported_at, self.second.reported_at = 1000.0 - self.ages[0], 1000.0 - self.ages[1]
        self.first.samples, self.second.samples = [FREE_MIB] * 3, [FREE_MIB] * 3
        self.second.proof = SECOND
        self.first.companions, self.second.companions = (self.second,), (self.first,)

    async def set_pin(self, node: str, label: str) -> None:
        assert label == STEP.pins[0].node_label
        self.sent.append(f"label {node}")

    async def remove_pin(self, node: str) -> bool:
        self.sent.append(f"no label {node}")
        return self.error is None

    async def mark_ready(self, step: MarkReady) -> None:
        self.sent.append("Ready")
        if self.error is not None:
            raise self.error

    async def take(self, step: MarkReady | RemovePin) -> list[str]:
        effects: Any = SimpleNamespace(nodes=self, checks=self)
        await Actions(effects, cast("Any", None), lambda: None).take(view(workload()), self.first, step)
        return self.sent


async def test_the_nodes_have_the_label_before_the_check_is_ready() -> None:
    world = World()
    assert await world.take(STEP) == ["label node-1", "label node-2", "Ready"]
    assert world.first.is_pinned and world.second.is_pinned
    assert (world.first.remembered_proof, world.second.remembered_proof) == (FREE_MIB, FREE_MIB - 1)
    assert world.first.samples == world.second.samples == [], "a proof is used once"


@pytest.mark.parametrize("ages", [(LONGEST_GAP + 1, 0.0), (0.0, LONGEST_GAP + 1)])
async def test_an_old_measurement_of_either_gpu_makes_nothing_ready(ages: tuple[float, float]) -> None:
    assert "Ready" not in await World(ages).take(STEP)


async def test_a_gpu_that_lost_its_proof_makes_nothing_ready() -> None:
    world = World()
    world.second.forget_samples()
    assert "Ready" not in await world.take(STEP)


async def test_without_an_answer_the_check_may_be_ready() -> None:
    world = World(error=KubeError(0, "", "no answer"))
    with pytest.raises(KubeError):
        await world.take(STEP)
    assert world.first.is_pinned and world.second.is_pinned
    assert world.first.samples == []


async def test_a_label_that_may_still_be_there_is_removed_again() -> None:
    world = World(error=KubeError(403, "Forbidden", "nodes is forbidden"))
    world.first.note_pin(removed=False)
    await world.take(RemovePin("node-1"))
    assert world.first.is_pin_effective()
    assert world.first.failure == "node node-1 may still have its label"
    world.error = None
    await world.take(RemovePin("node-1"))
    assert (world.first.is_pinned, world.first.failure) == (False, "")
    assert world.first.is_pin_effective(), "the scheduler has not seen it yet"
