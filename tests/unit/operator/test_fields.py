"""Every field of the CRD's spec reaches the training pod or its job file, or is one that the operator itself uses."""

import contextlib
import json
from typing import Any

import pytest

from gpu_relay.domain.decision import CreatePod
from gpu_relay.domain.job.attempts import next_batch
from gpu_relay.domain.quantities import duration, memory_mib
from gpu_relay.pods.pod_builder import TrainerDefaults, training_pod
from tests.support import specs
from tests.support.builders import job, lease, report, resident
from tests.support.consistent_specs import Spec

DECISIONS = {
    "priority", "preemptible", "suspend", "managedBy", "backoffLimit", "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "gpu.residentSelector.matchLabels{}", "gpu.sharing", "gpu.startWhen", "gpu.idleFor", "gpu.yieldToResident",
}  # fmt: skip
"""Fields that the operator itself uses; other tests show what each does."""
LEAVES = dict(specs.leaves())
LEASE, RESIDENT = lease(), resident(report())


def pod_of(spec: Spec) -> dict[str, Any]:
    one = job(**spec)
    step = CreatePod(1, next_batch(one))
    pod = training_pod(one, LEASE, RESIDENT, step, TrainerDefaults("gpu-relay/yolo", "nvidia.com/gpu", 60))
    pod["job file"] = json.loads(pod["metadata"]["annotations"].pop("gpurelay.dev/job"))
    return pod


def meaning(path: str, value: Any) -> Any:
    """Return the meaning of a value: equal for two spellings of one quantity."""
    match path:
        case "gpu.memory":
            return memory_mib(value)
        case "training.timeLimit":
            return duration(value)
        case _:
            return value


@pytest.mark.parametrize("path", LEAVES)
def test_it_reaches_the_pod_unless_the_operator_itself_goes_by_it(path: str) -> None:
    spec, after = two_values(path)
    pods = pod_of(spec), pod_of(specs.replaced(spec, path, after))
    assert (pods[0] == pods[1]) == (path in DECISIONS)


def two_values(path: str) -> tuple[Spec, Any]:
    """Return a spec with a value at a place, and another value for it."""
    found = []
    for spec in specs.draw(specs.specs(must=path), 1, 6):
        with contextlib.suppress(KeyError, IndexError):  # settled away, for another one of its kind
            found.append((spec, specs.find(spec, path)))
        if len(found) > 1 and meaning(path, found[0][1]) != meaning(path, found[-1][1]):
            return found[0][0], found[-1][1]
    raise AssertionError(f"no two values of {path} among {[value for _, value in found]}")


def test_the_known_decisions_are_fields() -> None:
    assert set(LEAVES) >= DECISIONS
    assert set(specs.KNOWN_GOOD) <= set(LEAVES)
