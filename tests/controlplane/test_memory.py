"""The operator's memory: as many jobs as a namespace's quota allows, each as large as can be, stay within its limit."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support import specs

Object = dict[str, Any]
Start = Callable[..., OperatorProcess]
_MANIFESTS = REPOSITORY / "manifests"
_LARGEST_REQUEST = 1_300_000
"""Bytes of an object that etcd takes by default, with some room for what the API server adds."""
_LABELS = 500
_ANNOTATIONS = 250_000
"""Bytes of annotations; Kubernetes allows 262,144."""


@pytest.fixture
def operator_program() -> type[OperatorProcess]:
    """A process that shares no memory with another."""
    return OperatorProcess


def memory_limit_mib() -> int:
    """Return the memory limit of the operator's container in MiB."""
    deployment = yaml.safe_load((_MANIFESTS / "base" / "operator" / "deployment.yaml").read_text())
    limit = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    return int(limit.removesuffix("Mi"))


def peak_mib(process: OperatorProcess) -> int:
    """Return the most memory that a process has had resident, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def largest_args() -> dict[str, list[str]]:
    """Return `training.args` as large as the CRD admits, or a request to the API server."""
    schema = specs.SCHEMA["properties"]["training"]["properties"]["args"]
    value = schema["additionalProperties"]
    texts = ["x" * value["items"]["maxLength"]] * value["maxItems"]
    most = _LARGEST_REQUEST // (len(texts) * (len(texts[0]) + 3))
    return {f"argument_{number}": texts for number in range(min(schema["maxProperties"], most))}


def largest_env() -> list[dict[str, str]]:
    """Return `podTemplate.env` as large as the CRD admits."""
    schema = specs.SCHEMA["properties"]["podTemplate"]["properties"]["env"]
    rules = " ".join(each["rule"] for each in schema.get("x-kubernetes-validations", ()))
    total = re.search(r"sum\(\) <= (\d+)", rules)
    longest = schema["items"]["properties"]["value"]["maxLength"]
    each = min(longest, int(total[1]) // schema["maxItems"]) if total else longest
    return [{"name": f"V_{number}", "value": "x" * each} for number in range(schema["maxItems"])]


def largest_metadata(name: str) -> dict[str, Any]:
    """Return metadata of a job with as many annotations as may be, and with many labels, which nothing bounds."""
    return {
        "name": name,
        "annotations": {"example.com/note": "x" * _ANNOTATIONS},
        "labels": {f"example.com/{'x' * 50}-{number}": "x" * 63 for number in range(_LABELS)},
    }


def jobs(count: int) -> Iterator[Object]:
    """Yield jobs that are as large as can be: every other one can run, the rest are refused for their arguments."""
    refused, kept = largest_args(), {f"argument_{number}": [0.5] * 64 for number in range(40)}
    for number in range(count):
        name, args = f"large-{number:03}", refused if number % 2 else kept
        job = job_manifest(name, memory="40Gi", training={"args": args}, podTemplate={"env": largest_env()})
        yield {**job, "metadata": largest_metadata(name)}


def create(api: httpx.Client, path: str, job: Object) -> str:
    """Create a job, with fewer arguments where it is larger than etcd takes; return its name."""
    args = job["spec"]["training"]["args"]
    while not (answer := api.post(path, json=job)).is_success:
        assert "too large" in answer.text, answer.text
        args.pop(next(iter(args)))
    return str(job["metadata"]["name"])


@pytest.fixture
def names(world: World, api: httpx.Client) -> Iterator[list[str]]:
    """As many of the largest jobs as the shipped quota of a team allows."""
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
    quota = yaml.safe_load((_MANIFESTS / "team" / "quota.yaml").read_text())
    count = int(quota["spec"]["hard"]["count/yolotrainingjobs.gpurelay.dev"])
    with ThreadPoolExecutor(4) as pool:
        yield list(pool.map(lambda job: create(api, path, job), jobs(count)))
        list(pool.map(world.delete_job, [f"large-{number:03}" for number in range(count)]))


def test_the_largest_jobs_stay_within_the_memory_limit(
    world: World, names: list[str], resident: ScriptedResident, start_operator: Start
) -> None:
    operator = start_operator(resync_interval="5", lease_duration="12")
    eventually(lambda: "probes on port" in operator.log(), "the operator to have started")
    eventually(lambda: operator.probe("/readyz").is_success, "the operator to have read all jobs", within=120)
    eventually(lambda: world.phase(names[-1]) == "Failed", "the last job to be judged", within=120)
    eventually(lambda: world.phase(names[-2]) == "Queued", "the last job to be queued", within=120)
    started = peak_mib(operator)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(world.touch_job, names[:40]))
    world.patch_job(names[-2], suspend=True)
    eventually(lambda: world.phase(names[-2]) == "Suspended", "a change to be seen", within=120)
    print(f"peak resident memory: {started} MiB when started, {peak_mib(operator)} MiB afterwards")
    assert operator.running
    assert peak_mib(operator) < memory_limit_mib()
