"""Sequences of specs made from the CRD's schema (after Acto): A, B, C ends as A, C; what is invalid leaves no trace.

The suite makes the same ones each time. `OPERATIONS=40` makes more, and others at each call; `OPERATIONS_SEED=7` makes
those of a seed, which every run prints.
"""

import json
import os
import random
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.kubelet import ScriptedKubelet
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support import specs
from tests.support.consistent_specs import Spec

SEARCH = os.environ.get("OPERATIONS", "")
ROUNDS = int(SEARCH or 2)
SEED = int(os.environ.get("OPERATIONS_SEED", "0")) or (random.SystemRandom().randrange(1, 10**6) if SEARCH else 1)
TOGETHER = 3
"""Sequences that wait for the GPU at the same time."""
ENDS = frozenset({"Succeeded", "Failed", "Suspended"})
PATCH = {"Content-Type": "application/json-patch+json"}
ELSEWHERE = frozenset({"nodeSelector", "serviceAccountName"})
Sequence = tuple[Spec, list[Spec], Spec, list[Spec], Spec]
"""A, what is forbidden after it, B, what is forbidden after that, C."""


@st.composite
def sequences(draw: st.DrawFn) -> Sequence:
    good = specs.specs().map(_runs_here)
    first = draw(good)
    follows = good.map(lambda spec: specs.after(first, spec))
    second, third = draw(follows), draw(follows)
    return (
        first, draw(st.lists(specs.invalid(first), max_size=2)),
        second, draw(st.lists(specs.invalid(second), max_size=2)), third,
    )  # fmt: skip


def _runs_here(spec: Spec) -> Spec:
    """Leave out what would have a job wait: for another GPU, controller or account, a resident at rest, or a person."""
    gpu = {name: spec["gpu"][name] for name in ("sharing", "yieldToResident") if name in spec["gpu"]}
    template = {name: value for name, value in spec.get("podTemplate", {}).items() if name not in ELSEWHERE}
    own = {name: value for name, value in spec.items() if name != "managedBy"}
    if spec["dataset"].get("label", {}).get("review") == "Required":
        own["dataset"] = {**spec["dataset"], "label": {**spec["dataset"]["label"], "approved": True}}
    return {**own, "gpu": {**gpu, "memory": "10Gi"}, "podTemplate": template, "backoffLimit": 1}


@pytest.fixture
def jobs(world: World) -> "Jobs":
    return Jobs(world)


class Jobs:
    """The jobs of a test, as an administrator writes and reads them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"

    def create(self, name: str, spec: Spec) -> str:
        """Create a job; return why the API server refuses it, or nothing."""
        self._furnish(spec)
        body = {"apiVersion": "gpurelay.dev/v1alpha1", "kind": "YoloTrainingJob", "metadata": {"name": name}}
        return _refusal(self._world.api.post(self._path, json={**body, "spec": spec}))

    def update(self, name: str, spec: Spec) -> str:
        """Replace a job's whole spec by a valid one; return why the API server refuses it, or nothing."""
        self._furnish(spec)
        return self.replace(name, spec)

    def replace(self, name: str, spec: object) -> str:
        """Replace a job's whole spec by anything at all; return why the API server refuses it, or nothing."""
        patch = json.dumps([{"op": "replace", "path": "/spec", "value": spec}])
        return _refusal(self._world.api.patch(f"{self._path}/{name}", content=patch, headers=PATCH))

    def _furnish(self, spec: Spec) -> None:
        """Create what a spec refers to: a job waits for a PVC or a ServiceAccount that does not exist."""
        namespace = f"/api/v1/namespaces/{self._world.namespace}"
        size = {"resources": {"requests": {"storage": "1Gi"}}}
        for part in ("dataset", "output"):
            if name := spec.get(part, {}).get("persistentVolumeClaim", {}).get("claimName"):
                claim = {"accessModes": ["ReadWriteMany"], "storageClassName": "", **size}
                self._world.api.post(
                    f"{namespace}/persistentvolumeclaims", json={"metadata": {"name": name}, "spec": claim}
                )
        if name := spec.get("podTemplate", {}).get("serviceAccountName"):
            self._world.api.post(f"{namespace}/serviceaccounts", json={"metadata": {"name": name}})

    def observed(self, name: str) -> dict[str, Any]:
        """Wait until the operator has taken in a job's present spec, and return the job."""

        def seen() -> dict[str, Any] | None:
            job = self._world.job(name)
            up_to_date = job.get("status", {}).get("observedGeneration") == job["metadata"]["generation"]
            return job if up_to_date else None

        return eventually(seen, f"the operator to see the spec of {name}")


def _refusal(answer: httpx.Response) -> str:
    return "" if answer.is_success else answer.text


def play(jobs: Jobs, number: int, sequence: Sequence) -> None:
    """Write A, B, C into one job, and A, C into another; what is forbidden changes nothing."""
    first, forbidden, second, forbidden_too, third = sequence
    long, short = f"long-{number}", f"short-{number}"
    assert jobs.create(short, first) == ""
    assert jobs.create(long, first) == ""
    for spec, attempts in ((first, forbidden), (second, forbidden_too)):
        assert jobs.update(long, spec) == ""
        before = jobs.observed(long)
        for attempt in attempts:
            assert jobs.replace(long, attempt) != "", attempt
        after = jobs.observed(long)
        assert (after["spec"], after["status"]["phase"]) == (before["spec"], before["status"]["phase"])
    for name in (long, short):
        assert jobs.update(name, third) == ""
    assert jobs.observed(long)["spec"] == jobs.observed(short)["spec"]


def _is_attempt_of(pod: Object, name: str) -> bool:
    labels = pod["metadata"]["labels"]
    return labels["gpurelay.dev/job"] == name and "gpurelay.dev/attempt" in labels


def ending(world: World, name: str) -> dict[str, Any]:
    """Return how a job has ended, and what its last training pod was."""
    status = world.job(name)["status"]
    pods = sorted(
        (pod for pod in world.training_pods() if _is_attempt_of(pod, name)),
        key=lambda pod: int(pod["metadata"]["labels"]["gpurelay.dev/attempt"]),
    )
    return {
        "phase": status["phase"],
        "conditions": {c["type"]: c["reason"] for c in status["conditions"] if c["type"] in {"Complete", "Failed"}},
        "pod": pods[-1]["spec"] if pods else None,
    }


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_b_c_ends_as_a_c(
    world: World, resident: ScriptedResident, operator: OperatorProcess, jobs: Jobs, number: int
) -> None:
    round_seed = SEED + number
    print(f"OPERATIONS_SEED={round_seed}")
    drawn = specs.draw(sequences(), round_seed, TOGETHER)
    resident.faults.mute = True  # what is unknown is not free: all wait in the queue
    for place, sequence in enumerate(drawn):
        play(jobs, place, sequence)
    names = [(f"long-{place}", f"short-{place}") for place in range(TOGETHER)]
    with ScriptedKubelet(world, [resident], seconds=0.1) as kubelet:
        resident.faults.mute = False
        every = [name for pair in names for name in pair]
        eventually(lambda: all(world.phase(name) in ENDS for name in every), f"the ends of {every}", within=120)
        eventually(lambda: resident.loaded and world.no_reload_pending(), "the resident to be back")
    assert kubelet.violations == []
    for long, short in names:
        assert ending(world, long) == ending(world, short)
    assert operator.running
    assert "Traceback" not in operator.log()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_whatever_the_api_server_accepts_leaves_the_operator_well(
    world: World, resident: ScriptedResident, operator: OperatorProcess, jobs: Jobs, number: int
) -> None:
    round_seed = SEED + number
    print(f"OPERATIONS_SEED={round_seed}")
    drawn = specs.draw(specs.specs(known_good=False), round_seed, 10)
    with ScriptedKubelet(world, [resident], seconds=0.1):
        accepted = [f"any-{place}" for place, spec in enumerate(drawn) if not jobs.create(f"any-{place}", spec)]
        for name in accepted:
            if "managedBy" not in world.job(name)["spec"]:  # others are left alone
                jobs.observed(name)
        world.apply_job("plain", priority=10**9)
        eventually(lambda: world.phase("plain") == "Succeeded", "a plain job to get its turn", within=120)
    assert operator.running
    assert "Traceback" not in operator.log()
