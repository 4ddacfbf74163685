"""What the plugin, Events and metrics show of plain Jobs that take turns, with the real Kueue."""

import json
import re
from typing import Any

import httpx

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back
from tests.controlplane.kueue.test_admission_check import Start
from tests.controlplane.test_kubectl_relay_rights import viewer
from tests.support.plugin import Plugin

__all__ = ["viewer"]
GPU = "gpu-00000000-0000-0000-0000-000000000001"


def events(api: httpx.Client, world: World, job: str) -> list[dict[str, Any]]:
    """Return the Events on a Job, as `kubectl describe job` selects them."""
    selector = {"fieldSelector": f"involvedObject.kind=Job,involvedObject.name={job}"}
    return list(api.get(f"/api/v1/namespaces/{world.namespace}/events", params=selector).json()["items"])


def ours(api: httpx.Client, world: World, job: str) -> dict[str, str]:
    """Return the messages of the operator's Events on a Job, by reason."""
    return {
        each["reason"]: each["message"] for each in events(api, world, job) if each["reportingComponent"] == "gpu-relay"
    }


def one_in_turn_and_one_that_waits(jobs: PlainJobs) -> None:
    """Create `first`, which has the GPU, and `second`, which waits for it."""
    jobs.create("first")
    jobs.starts("first")
    jobs.create("second")
    jobs.says("second", "others are ahead")


def test_a_job_in_turn_and_one_that_waits_are_seen(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess, relay: Plugin
) -> None:
    one_in_turn_and_one_that_waits(jobs)
    here = ("-n", world.namespace)
    gpus = relay("gpus", *here)
    assert gpus.code == 0, gpus.err
    assert re.search(rf"owner +Job {world.namespace}/first for .*, Training", gpus.out)
    assert re.search(
        rf"queue +- +Job {world.namespace}/second  needs 10,240 MiB  waits for a GPU with 10,240 MiB: ", gpus.out
    ), gpus.out
    listed = relay("jobs", *here)
    assert re.search(rf"Job {world.namespace}/first +Training +GPU GPU-.* 10,240 MiB needed", listed.out), listed.out
    assert re.search(
        rf"Job {world.namespace}/second +Queued +waits for a GPU with 10,240 MiB: others are ahead", listed.out
    )
    why = relay("explain", "second", *here)
    assert why.out.startswith(f"Job {world.namespace}/second waits for a GPU")
    assert re.search(rf"owned by Job {world.namespace}/first since .*, Training\.", " ".join(why.out.split())), why.out
    (line,) = json.loads(relay("timeline", "job/first", *here, "-o", "json").out)["gpus"]
    assert (line["gpu"], line["turns"][0]["represents"]["name"]) == (GPU, "first")
    jobs.ends("first")
    jobs.starts("second")
    jobs.ends("second")
    gives_back(world, resident)
    eventually(lambda: "Succeeded" in relay("jobs", *here).out.split("second")[1], "second to have succeeded")
    turns = relay("timeline", *here).out
    assert re.search(rf"A  Job {world.namespace}/first .* Succeeded .*after", turns), turns
    assert "has succeeded" in relay("explain", "second", *here).out


def test_a_viewer_of_one_namespace_sees_its_workloads(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess, viewer: Plugin
) -> None:
    one_in_turn_and_one_that_waits(jobs)
    here = ("-n", world.namespace)
    eventually(lambda: "second" in viewer("jobs", *here).out, "the role `view` to include Workloads")
    shown = viewer("gpus", *here)
    assert shown.code == 0, shown.err
    assert re.search(rf"owner +Job {world.namespace}/first for .*, Training", shown.out), "by the pin of its check"
    assert "Workloads" not in shown.out, "no right to them is missing"


def test_the_events_of_a_turn_are_on_the_job(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess, api: httpx.Client,
    start_operator: Start,
) -> None:  # fmt: skip
    jobs.create("plain")
    jobs.starts("plain")
    found = ours(api, world, "plain")
    assert found["GPULeased"] == f"GPU {GPU} on node node-1 assigned"
    assert "14,910 MiB" in found["ResidentUnloaded"], found
    assert "14,910 MiB measured, 10,240 MiB needed" in found["MemoryProven"]
    running.kill()
    start_operator()
    jobs.ends("plain")
    gives_back(world, resident)
    eventually(lambda: "ResidentLoaded" in ours(api, world, "plain"), "the reload to be published")
    assert ours(api, world, "plain")["GPUReturned"].endswith("returned: it has finished")
    written = [each["reason"] for each in events(api, world, "plain") if each["reportingComponent"] == "gpu-relay"]
    assert len(written) == len(set(written)), "a restarted operator writes none twice"


def metrics_of(operator: OperatorProcess) -> dict[str, float]:
    """Return the operator's own metrics."""
    lines = (line for line in operator.probe("/metrics").text.splitlines() if line.startswith("gpu_relay_"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_turns_and_waits_of_jobs_are_counted_by_kind(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("plain")
    jobs.starts("plain")
    passes = "gpu_relay_pass_seconds_count"
    before = metrics_of(running)[passes]
    eventually(lambda: metrics_of(running)[passes] > before + 2, "the operator to see the pod run")
    jobs.ends("plain")
    gives_back(world, resident)
    metrics = metrics_of(running)
    assert metrics[f'gpu_relay_turns_total{{gpu="{GPU}",kind="workload"}}'] == 1
    assert metrics['gpu_relay_queue_wait_seconds_count{kind="workload"}'] == 1
    for step in ("unload", "prove", "return", "load"):
        assert metrics[f'gpu_relay_step_seconds_count{{step="{step}"}}'] == 1, step
    assert metrics[f'gpu_relay_training_seconds_total{{gpu="{GPU}",job_namespace="{world.namespace}"}}'] > 0
    assert metrics[f'gpu_relay_free_memory_after_mib{{gpu="{GPU}"}}'] == 14_910
