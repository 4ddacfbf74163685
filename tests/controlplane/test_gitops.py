"""Jobs under GitOps: a second field manager, health as Flux and Argo CD judge it, pruning, and a whole round trip."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import create_namespace
from devcluster.scripted.manifests import Object, job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.gitops import CUSTOMIZATION, Repository, argo_health, kstatus

Start = Callable[..., OperatorProcess]
HEALTH = {
    "Preparing": ("InProgress", "Progressing"),
    "Queued": ("InProgress", "Progressing"),
    "Acquiring": ("InProgress", "Progressing"),
    "Training": ("InProgress", "Progressing"),
    "Releasing": ("InProgress", "Progressing"),
    "Succeeded": ("Current", "Healthy"),
    "Failed": ("Failed", "Degraded"),
    "Suspended": ("Current", "Suspended"),
}
"""What kstatus and Argo CD make of each phase."""


def test_health_of_every_phase(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """Each version that the operator ever writes is judged, and those that it has not yet seen."""
    created = [world.apply_job(name) for name in ("works", "fails", "rests")]
    assert kstatus(created) == ["InProgress"] * 3
    assert [argo_health(job)["status"] for job in created] == ["Progressing"] * 3
    world.patch_job("rests", suspend=True)
    start_operator(preparations="2")
    for name, reason, code in (("works", "Completed", 0), ("fails", "DatasetInvalid", 13)):
        world.shows_pod(f"{name}-1-prepare")
        world.end_pod(f"{name}-1-prepare")
        world.shows_pod(f"{name}-1")
        world.run_pod(f"{name}-1")
        world.reaches(name, "Training")
        world.end_pod(f"{name}-1", reason, code)
    world.reaches("works", "Succeeded")
    world.reaches("fails", "Failed")
    world.reaches("rests", "Suspended")
    seen = {
        name: world.watch_job(name, before["metadata"]["resourceVersion"], seconds=1)
        for name, before in zip(("works", "fails", "rests"), created, strict=True)
    }
    versions = [version for each in seen.values() for version in each if "phase" in version["status"]]
    assert {version["status"]["phase"] for version in versions} == set(HEALTH)
    judged = zip(versions, kstatus(versions), strict=True)
    for version, current in judged:
        assert (current, argo_health(version)["status"]) == HEALTH[version["status"]["phase"]]


def test_a_job_at_rest_has_seen_every_change(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """Otherwise a finished job whose ttl is changed is in progress indefinitely."""
    for name in ("done", "rests"):
        world.apply_job(name, suspend=name == "rests")
    world.shows_pod("done-1")
    world.end_pod("done-1")
    world.reaches("done", "Succeeded")
    world.reaches("rests", "Suspended")
    for name in ("done", "rests"):
        world.patch_job(name, ttlSecondsAfterFinished=86400, priority=3)
    eventually(lambda: kstatus(map(world.job, ("done", "rests"))) == ["Current"] * 2, "both to be current again")


def version_at_rest(world: World, name: str) -> str:
    """Wait until the operator has written the status of a phase completely."""

    def look() -> str | None:
        seen = world.version(name)
        time.sleep(1.5)
        return seen if world.version(name) == seen else None

    return eventually(look, f"job {name} to be at rest")


def test_a_second_field_manager_changes_nothing_by_applying_again(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    manifest = yaml.safe_load((REPOSITORY / "manifests" / "samples" / "complete.yaml").read_text())
    manifest["metadata"]["namespace"] = world.namespace
    del manifest["spec"]["gpu"]["residentSelector"]
    text = json.dumps(manifest)
    apply = ("apply", "--server-side", "--field-manager=applier", "--filename=-")
    cluster.kubectl(*apply, stdin=text)
    for phase in ("Training", "Succeeded"):
        world.shows_pod("complete-1")
        if phase == "Succeeded":
            world.end_pod("complete-1")
        world.reaches("complete", phase)
        eventually(world.no_reload_pending if phase == "Succeeded" else lambda: True, "the turn to end")
        before = version_at_rest(world, "complete")
        for _ in range(2):
            assert "serverside-applied" in cluster.kubectl(*apply, stdin=text)
        assert world.version("complete") == before
        cluster.kubectl("diff", "--server-side", "--field-manager=applier", "--filename=-", stdin=text)
    owners = {
        (entry["manager"], entry.get("subresource")): set(entry["fieldsV1"])
        for entry in world.job("complete")["metadata"]["managedFields"]
    }
    assert set(owners) == {("applier", None), ("gpu-relay", "status")}, "the operator writes nothing but status"
    assert owners["gpu-relay", "status"] == {"f:status"}


def test_kubectl_waits_for_completion(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    said: list[str] = []
    wait = ("-n", world.namespace, "wait", "ytj/digits", "--for=condition=Complete", "--timeout=60s")
    waiter = threading.Thread(target=lambda: said.append(cluster.kubectl(*wait)))
    waiter.start()
    world.end_pod("digits-1")
    waiter.join()
    assert said == ["yolotrainingjob.gpurelay.dev/digits condition met\n"]


def test_a_round_trip(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess, tmp_path: Path
) -> None:
    """A commit is applied, its job goes from in progress to current; the next commit prunes it without a trace."""
    stays: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stays"}}
    repository = Repository(tmp_path / "repository", cluster, world.namespace)
    repository.commit(stays=stays, job=job_manifest("digits"))
    repository.sync()
    assert kstatus([world.job("digits")]) == ["InProgress"]
    world.shows_pod("digits-1")
    repository.sync()
    world.end_pod("digits-1")
    eventually(lambda: kstatus([world.job("digits")]) == ["Current"], "the job to be current")
    eventually(world.no_reload_pending, "the Lease to be settled")
    repository.commit(stays=stays)
    repository.sync()
    eventually(lambda: not world.has_job("digits"), "the job to be pruned")
    eventually(lambda: not world.pod_names(), "its pods to be gone")
    assert resident.loaded
    assert _left(cluster, world.namespace) == [
        "configmap/kube-root-ca.crt",
        "configmap/stays",
        "persistentvolumeclaim/data",
        "persistentvolumeclaim/results",
        "pod/sam3",
        "secret/applier",
    ]


def test_pruning_a_job_in_training_gives_the_gpu_back(
    cluster: Cluster, world: World, resident: ScriptedResident, operator: OperatorProcess, tmp_path: Path
) -> None:
    stays: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stays"}}
    repository = Repository(tmp_path / "repository", cluster, world.namespace)
    repository.commit(stays=stays, job=job_manifest("digits"))
    repository.sync()
    world.shows_pod("digits-1")
    assert not resident.loaded
    repository.commit(stays=stays)
    repository.sync()
    eventually(lambda: resident.loaded and world.no_reload_pending(), "the resident to be loaded")
    assert world.pod_names() == []


@pytest.fixture
def team(api: httpx.Client, world: World) -> Iterator[str]:
    """A namespace beside the resident's."""
    name = f"{world.namespace[:40]}-team"
    create_namespace(api, name)
    yield name
    api.delete(f"/api/v1/namespaces/{name}")


def test_deleting_a_namespace_gives_the_gpu_back(
    cluster: Cluster, world: World, team: str, api: httpx.Client, operator: OperatorProcess
) -> None:
    resident = ScriptedResident()
    world.add_resident(resident, annotations={"gpurelay.dev/allowed-namespaces": team})
    theirs = World(api, team)
    theirs.add_claims("data", "results")
    theirs.apply_job("digits")
    theirs.shows_pod("digits-1")
    assert not resident.loaded
    cluster.kubectl("delete", "namespace", team, "--timeout=60s")
    eventually(lambda: resident.loaded and world.no_reload_pending(), "the resident to be loaded")
    resident.close()


# What is shipped for the tools


def _health_tests() -> list[Any]:
    return list(yaml.safe_load((CUSTOMIZATION / "health_test.yaml").read_text())["tests"])


@pytest.mark.parametrize("case", _health_tests(), ids=lambda case: Path(case["inputPath"]).stem)
def test_argo_cds_own_test_data(case: dict[str, Any]) -> None:
    """In the layout of argo-cd's resource_customizations: its own test would read the same files."""
    item = yaml.safe_load((CUSTOMIZATION / case["inputPath"]).read_text())
    assert argo_health(item) == case["healthStatus"]


def _left(cluster: Cluster, namespace: str) -> list[str]:
    """Return the names of what is in a namespace, but Events, which end by themselves, and accounts."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "serviceaccounts", "rolebindings"))]
    names = cluster.kubectl("-n", namespace, "get", ",".join(kinds), "-o", "name", "--ignore-not-found")
    return sorted(names.split())
