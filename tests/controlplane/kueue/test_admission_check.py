"""Jobs of any kind in turn through the operator's admission check, with the real Kueue and Job controller."""

from collections.abc import Callable

import httpx

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.controlplane.kueue.plain_jobs import PlainJobs, gives_back

Start = Callable[..., OperatorProcess]


def test_a_plain_job_takes_the_gpu_and_gives_it_back(
    world: World, api: httpx.Client, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("plain")
    pod = jobs.starts("plain")
    assert not resident.loaded
    label = node_label(api)
    assert label
    uid = jobs.workload("plain")["metadata"]["uid"]
    holder = next(iter(world.leases().values()))
    assert holder == f"workload/{world.namespace}/{jobs.workload('plain')['metadata']['name']}/{uid}"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "node-1", "gpurelay.dev/pin": label}
    labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert labels["gpurelay.dev/workload-uid"] == uid
    assert annotations["gpurelay.dev/gpu"].lower() == labels["gpurelay.dev/gpu"]
    assert int(annotations["gpurelay.dev/proven-free-mib"]) >= 10240
    assert "measured, 10,240 MiB needed" in jobs.check("plain")["message"]
    jobs.ends("plain")
    eventually(lambda: jobs.finished("plain"), "the Workload to be finished")
    gives_back(world, resident)
    assert not node_label(api)


def node_label(api: httpx.Client) -> str:
    """Return the label by which the pods of a turn find node-1; empty if there is none."""
    return str(api.get("/api/v1/nodes/node-1").json()["metadata"]["labels"].get("gpurelay.dev/pin", ""))


def test_jobs_and_yolotrainingjobs_take_turns(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("first")
    jobs.starts("first")
    world.apply_job("digits", queue="team")
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait for its turn")
    world.becomes_older("digits")  # in one second, the UID decides
    jobs.create("last")
    jobs.says("last", "others are ahead")
    assert not jobs.pods("last")
    jobs.ends("first")
    world.shows_pod("digits-1")
    assert not jobs.pods("last")
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    jobs.starts("last")
    jobs.ends("last")
    gives_back(world, resident)


def test_a_job_deleted_while_it_waits_leaves_nothing(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("first")
    jobs.starts("first")
    jobs.create("second")
    jobs.says("second", "others are ahead")
    jobs.delete("second")
    eventually(lambda: not jobs.workload("second"), "the Workload to be gone")
    jobs.ends("first")
    gives_back(world, resident)
    assert not jobs.pods("second")


def test_a_job_deleted_while_it_runs_keeps_the_gpu_till_its_end(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("plain")
    pod = jobs.starts("plain")["metadata"]["name"]
    jobs.delete("plain")
    eventually(lambda: not jobs.workload("plain") and not world.exists(pod), "the Workload to be gone, the pod to end")
    loads = len(resident.called("load"))
    jobs.create("next")
    jobs.says("next", "others are ahead")
    assert len(resident.called("load")) == loads, "the pod still terminates"
    assert not jobs.pods("next")
    world.delete_as_kubelet(pod)
    jobs.starts("next")
    jobs.ends("next")
    gives_back(world, resident)


def test_an_operator_killed_after_ready_continues(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess, start_operator: Start
) -> None:
    jobs.create("plain")
    jobs.starts("plain")
    running.kill()
    jobs.ends("plain")
    eventually(lambda: jobs.finished("plain"), "the Workload to be finished")
    assert not resident.loaded
    start_operator()
    gives_back(world, resident)


def test_what_cannot_have_a_turn_says_so(
    world: World, resident: ScriptedResident, jobs: PlainJobs, running: OperatorProcess
) -> None:
    jobs.create("two-pods", pods=2)
    jobs.says(
        "two-pods", "its pods must use all GPUs of their nodes, and request 2 x 1; of the nodes that suit, node-1"
    )
    jobs.create("no-gpu", gpus=0, pods=2)
    jobs.says("no-gpu", "has no pod that requests a GPU")
    jobs.create("huge", memory="100Gi")
    jobs.says("huge", "has at most 14,654 MiB for a job")
    jobs.create("vague", memory="lots")
    jobs.says("vague", "the annotation gpurelay.dev/gpu-memory of the pod template is 'lots'")
    assert resident.loaded and not resident.called("unload")
