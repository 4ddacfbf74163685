"""Workloads with several pods and GPUs, with the real Kueue: all GPUs at once, or none."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import gpu_pod
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back

Start = Callable[..., OperatorProcess]
TIMES = int(os.environ.get("GPU_RELAY_TIMES", "2"))
"""How often two Workloads compete for the same GPUs, for example 50."""


@pytest.fixture
def four(world: World) -> Iterator[list[ScriptedResident]]:
    """Residents of four GPUs: two on each of two nodes."""
    residents = [ScriptedResident(uuid=f"GPU-00000000-0000-0000-0000-00000000000{number}") for number in range(4)]
    for number, each in enumerate(residents):
        world.add_resident(each, name=f"sam3-{number}", node=f"node-{1 + number // 2}")
    yield residents
    for each in residents:
        each.close()


@pytest.fixture
def running(jobs: PlainJobs, four: list[ScriptedResident], start_operator: Start) -> OperatorProcess:
    """The operator, which has found the check and the residents at its start."""
    return start_operator(backoff_base="0.5", request_timeout="5", log_level="DEBUG")


class MadeByHand:
    """A Workload with several pod sets, as the controller of a PyTorchJob makes one; the test makes its pods."""

    def __init__(self, api: httpx.Client, world: World, name: str, *gpus: int) -> None:
        self._api, self._world = api, world
        self.name = name
        self._sets = {f"set-{number}": size for number, size in enumerate(gpus)}
        self._path = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{world.namespace}/workloads"
        self._pods = f"/api/v1/namespaces/{world.namespace}/pods"
        sets = [
            {
                "name": each,
                "count": 1,
                "template": {
                    "metadata": {"annotations": {"gpurelay.dev/gpu-memory": "10Gi"}},
                    "spec": gpu_pod("main", size),
                },
            }
            for each, size in self._sets.items()
        ]
        body = {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "Workload",
            "metadata": {"name": name},
            "spec": {"queueName": "team", "podSets": sets},
        }
        api.post(self._path, json=body).raise_for_status()

    def read(self) -> dict[str, Any]:
        """Return the Workload."""
        return dict(self._api.get(f"{self._path}/{self.name}").raise_for_status().json())

    @property
    def admitted(self) -> bool:
        """Whether Kueue has admitted it."""
        return self._holds("Admitted")

    def says(self, words: str) -> bool:
        """Whether the message of its check has these words."""
        return any(words in each["message"] for each in self.read().get("status", {}).get("admissionChecks", []))

    def starts(self) -> list[dict[str, Any]]:
        """Create the pods with what the check added, and have them run."""
        eventually(lambda: self.admitted, f"{self.name} to be admitted")
        [entry] = self.read()["status"]["admissionChecks"]
        updates = {each["name"]: each for each in entry.get("podSetUpdates", [])}
        for name in self._sets:
            pin = updates.get(name, {})
            meta = {key: pin[key] for key in ("labels", "annotations") if key in pin}
            spec = gpu_pod("main", self._sets[name]) | {"nodeSelector": pin.get("nodeSelector", {})}
            pod = {"metadata": {"name": f"{self.name}-{name}", **meta}, "spec": spec}
            self._api.post(self._pods, json=pod).raise_for_status()
            self._world.set_pod(f"{self.name}-{name}", phase="Running")
        return [dict(updates.get(name, {})) for name in self._sets]

    def ends(self) -> None:
        """Have the pods succeed, and report that the Workload has finished."""
        for name in self._sets:
            self._world.set_pod(f"{self.name}-{name}", phase="Succeeded")
        finished = {
            "type": "Finished",
            "status": "True",
            "reason": "Succeeded",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        self._merge("/status", {"status": {"conditions": [*self.read()["status"]["conditions"], finished]}})

    def set_active(self, active: bool) -> None:
        """Stop it, or let it be queued again, as an administrator does."""
        self._merge("", {"spec": {"active": active}})

    def stopped(self) -> None:
        """Report that its job is stopped, as the controller of the job does: its quota is free."""
        eventually(lambda: self._holds("Evicted"), f"{self.name} to be evicted")
        none = {kind: {"type": kind, "status": "False"} for kind in ("QuotaReserved", "Admitted")}
        common = {"reason": "Pending", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        conditions = [{**each, **common, **none[each["type"]]} if each["type"] in none else each
                      for each in self.read()["status"]["conditions"]]  # fmt: skip
        self._merge("/status", {"status": {"admission": None, "conditions": conditions}})

    def _holds(self, kind: str) -> bool:
        conditions = self.read().get("status", {}).get("conditions", [])
        return any(each["type"] == kind and each["status"] == "True" for each in conditions)

    def pods_succeed(self) -> None:
        """Have the pods succeed, and report that none of them is needed any more, as the controller of its job does."""
        for name in self._sets:
            self._world.set_pod(f"{self.name}-{name}", phase="Succeeded")
        self._merge("/status", {"status": {"reclaimablePods": [{"name": each, "count": 1} for each in self._sets]}})

    def _merge(self, part: str, body: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        self._api.patch(f"{self._path}/{self.name}{part}", json=body, headers=headers).raise_for_status()

    def delete(self) -> None:
        """Delete it, and its pods."""
        self._api.delete(f"{self._path}/{self.name}")
        for name in self._sets:
            self._api.request("DELETE", f"{self._pods}/{self.name}-{name}", json={"gracePeriodSeconds": 0})


@pytest.fixture
def make(api: httpx.Client, world: World, jobs: PlainJobs) -> Iterator[Callable[..., MadeByHand]]:
    """Make Workloads by hand."""
    made: list[MadeByHand] = []

    def one(name: str, *gpus: int) -> MadeByHand:
        made.append(MadeByHand(api, world, name, *gpus))
        return made[-1]

    yield one
    for each in made:
        each.delete()


def test_a_pod_with_all_gpus_of_a_node(
    world: World, four: list[ScriptedResident], jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("wide", gpus=2)
    pod = jobs.starts("wide")
    node = pod["spec"]["nodeSelector"]["kubernetes.io/hostname"]
    own, others = (four[:2], four[2:]) if node == "node-1" else (four[2:], four[:2])
    assert not any(each.loaded for each in own) and all(each.loaded for each in others)
    assert pod["metadata"]["annotations"]["gpurelay.dev/gpu"] == ",".join(sorted(each.uuid for each in own))
    turns = dict(each.split("=") for each in pod["metadata"]["annotations"]["gpurelay.dev/turns"].split(","))
    assert sorted(turns) == sorted(each.uuid.lower() for each in own)
    assert all(each.hold and each.hold["fence"] == int(turns[each.uuid.lower()]) for each in own)
    jobs.ends("wide")
    gives_back(world, *four)


def test_a_workload_whose_pods_ended_as_it_was_stopped_is_admitted_without_a_turn(
    world: World, four: list[ScriptedResident], make: Callable[..., MadeByHand], running: OperatorProcess
) -> None:
    """Kueue resumes a Job only with all checks Ready, and a suspended Job never completes (chaos seed 9700020)."""
    one = make("ended", 2)
    one.starts()
    one.set_active(False)
    one.pods_succeed()
    gives_back(world, *four)
    one.stopped()
    one.set_active(True)
    eventually(lambda: one.admitted, "the Workload to be admitted again")
    assert one.says("its pods that request a GPU have ended")
    assert all(each.loaded for each in four)


def test_pods_on_several_nodes_are_pinned_to_their_own(
    world: World, four: list[ScriptedResident], make: Callable[..., MadeByHand], running: OperatorProcess
) -> None:
    one = make("both", 0, 1, 1, 2)
    pins = one.starts()
    assert not any(each.loaded for each in four)
    assert pins[0] == {}, "a pod without a GPU runs anywhere"
    hosts = [each["nodeSelector"]["kubernetes.io/hostname"] for each in pins[1:]]
    assert hosts[0] == hosts[1] != hosts[2]
    gpus = ",".join(each["annotations"]["gpurelay.dev/gpu"] for each in pins[1:]).split(",")
    assert sorted(gpus) == [each.uuid for each in four], "each GPU once"
    world.set_pod("both-set-1", phase="Succeeded")
    assert not any(each.called("load") for each in four), "the other pods run"
    one.ends()
    gives_back(world, *four)


def test_a_workload_for_more_nodes_than_there_are_waits(
    world: World, four: list[ScriptedResident], jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("one-gpu")
    jobs.says("one-gpu", "must use all GPUs of its nodes, and this one requests 1")
    assert all(each.loaded for each in four)


def test_two_workloads_that_need_the_same_gpus_both_finish(
    world: World, four: list[ScriptedResident], make: Callable[..., MadeByHand], running: OperatorProcess
) -> None:
    """Each needs all four, and Kueue has quota for both: neither may have some of them."""
    for number in range(TIMES):
        first, second = one_after_the_other([make(f"{name}-{number}", 2, 2) for name in ("left", "right")])
        first.starts()
        assert not second.admitted
        first.ends()
        second.starts()
        second.ends()
    gives_back(world, *four)


def one_after_the_other(pair: list[MadeByHand]) -> list[MadeByHand]:
    """Wait until one of two Workloads is admitted; return that one first."""
    eventually(lambda: any(each.admitted for each in pair), "one of them to be admitted")
    return sorted(pair, key=lambda each: not each.admitted)


def test_a_proof_ends_when_its_memory_is_taken(
    world: World, four: list[ScriptedResident], make: Callable[..., MadeByHand], running: OperatorProcess
) -> None:
    """Law 1: while one GPU waits for another, other processes may take its memory."""
    one = make("both", 2, 2)
    four[3].faults.leak_mib = 9_000
    eventually(lambda: one.says("on node node-2 lists them"), "the last GPU to lack memory")
    four[0].other_mib = 9_000
    eventually(lambda: one.says("on node node-1 lists them"), "the first GPU to lack memory, too")
    four[3].faults.leak_mib = 0
    asked = len(four[3].called("gpu"))
    eventually(lambda: len(four[3].called("gpu")) > asked + 6, "the proof of the last GPU")
    assert not one.admitted
    four[0].other_mib = 0
    one.starts()
    one.ends()
    gives_back(world, *four)


def test_a_workload_that_loses_one_of_its_leases_is_evicted(
    world: World, four: list[ScriptedResident], jobs: PlainJobs, api: httpx.Client, running: OperatorProcess
) -> None:
    """Nothing would renew the hold of that GPU beside the running pod."""
    jobs.create("wide", gpus=2)
    jobs.starts("wide")
    gpu = next(name for name, holder in world.leases().items() if holder.startswith("workload/"))
    api.delete(f"/apis/coordination.k8s.io/v1/namespaces/gpu-relay/leases/{gpu}").raise_for_status()
    eventually(lambda: jobs.check("wide").get("state") != "Ready", "the Workload to be evicted")
    pod = jobs.pods("wide")[0]["metadata"]["name"]
    world.delete_as_kubelet(pod)
    eventually(lambda: [each for each in jobs.pods("wide") if each["metadata"]["name"] != pod], "its next pod")
    jobs.starts("wide")
    jobs.ends("wide")
    eventually(world.no_reload_pending, "the residents to be back")
    lost = [each for each in four if not each.loaded]
    assert all(each.hold and each.uuid.lower() == gpu for each in lost), "a resident without a Lease loads by itself"
