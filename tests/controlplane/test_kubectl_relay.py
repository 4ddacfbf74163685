"""`kubectl relay`, run by kubectl against the real API server, with the real operator."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devcluster import Cluster, accounts
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.plugin import Plugin

ROLES = "/apis/rbac.authorization.k8s.io/v1"
GPU = "gpu-00000000-0000-0000-0000-000000000001"


@pytest.fixture
def relay(cluster: Cluster, tmp_path: Path) -> Plugin:
    """The plugin in the hands of an administrator."""
    return Plugin(tmp_path / "bin", cluster.kubeconfig)


@pytest.fixture
def trainer() -> Iterator[ScriptedTrainer]:
    trainer = ScriptedTrainer(epochs=100, eta_seconds=900)
    trainer.epoch, trainer.metrics = 12, {"mAP50": 0.61, "mAP50_95": 0.42}
    yield trainer
    trainer.close()


def trains(world: World, trainer: ScriptedTrainer, job: str) -> None:
    """Have a job's first training pod run, and its progress told."""
    world.shows_pod(f"{job}-1")
    world.bind_pod(f"{job}-1", "node-1")
    world.run_pod(f"{job}-1", ip=trainer.ip)
    eventually(lambda: world.job(job)["status"].get("progress"), f"progress of {job}")


def test_gpus_says_who_has_it_and_who_is_next(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    world.apply_job("defects")
    trains(world, trainer, "defects")
    world.apply_job("digits")
    world.apply_job("huge", memory="40Gi", priority=-1)
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait")
    eventually(lambda: world.waits_for("huge", "NoGpuFits"), "huge to wait")
    shown = relay("gpus", "-n", world.namespace)
    assert shown.code == 0, shown.err
    assert re.search(rf"{GPU}  Tesla T4  on node-1", shown.out)
    assert re.search(rf"owner +{world.namespace}/defects for .*, Training, epoch 12/100, should end at", shown.out)
    assert "14,910 MiB were measured free before" in shown.out
    assert re.search(rf"resident  unloaded by the Lease, out for .*{world.namespace}/sam3", shown.out)
    assert re.search(rf"queue +1  {world.namespace}/digits  needs 10,240 MiB", shown.out)
    assert re.search(rf"no GPU suits  {world.namespace}/huge \(40,960 MiB\)", shown.out)
    assert "\x1b" not in shown.out
    told = json.loads(relay("gpus", "-n", world.namespace, "-o", "json").out)
    (gpu,) = (each for each in told["gpus"] if each["key"] == GPU)
    assert gpu["owner"]["job"]["name"] == "defects"
    assert [each["job"]["name"] for each in gpu["queue"]] == ["digits"]
    assert "renew" not in json.dumps(told), "the key that renews a hold is nobody's business"


def test_gpus_measures_through_the_api_server(
    world: World, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    resident = ScriptedResident(address=_own_address())
    try:
        world.add_resident(resident)
        before = relay("gpus", "-n", world.namespace).out
        assert "14,000 MiB used, 910 MiB free of 15,360 MiB" in before
        assert re.search(r"resident  loaded  ", before)
        world.apply_job("digits")
        trains(world, trainer, "digits")
        resident.trainer_mib, resident.refused = 10_240, 3
        after = relay("gpus", "-n", world.namespace).out
        assert "10,240 MiB used, 4,670 MiB free of 15,360 MiB" in after
        assert re.search(r"resident  unloaded, out for .*, 3 requests refused meanwhile", after)
    finally:
        resident.close()


def _own_address() -> str:
    """Return an address of this machine that is no loopback: the API server's proxy connects to no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback, to which the API server's proxy does not connect")
        return str(probe.getsockname()[0])


def test_a_queued_job_is_explained(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    world.apply_job("defects")
    trains(world, trainer, "defects")
    world.apply_job("urgent", priority=5)
    world.apply_job("digits")
    eventually(lambda: world.job("digits")["status"].get("queuePosition") == 2, "digits to be second")
    told = relay("explain", "digits", "-n", world.namespace)
    assert told.code == 0, told.err
    name = world.namespace
    sentences = re.sub(r"\s+", " ", told.out)
    assert f"{name}/digits waits for a GPU: number 2 in the queue." in sentences
    assert f"Before it in the queue: {name}/urgent (priority 5); its own priority is 0." in sentences
    assert re.search(rf"GPU {GPU} on node-1 is {name}/defects's since .*, Training, epoch 12/100", sentences)
    assert "A higher spec.priority" in sentences
    data = json.loads(relay("explain", "digits", "-n", name, "-o", "json").out)
    assert (data["phase"], data["reason"]) == ("Queued", "WaitingInQueue")


def test_a_failed_job_says_what_happened(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.end_pod("digits-1", "DatasetInvalid", 13, message="data.yaml: `names` is missing\x1b[2J")
    world.reaches("digits", "Failed")
    told = relay("explain", "digits", "-n", world.namespace)
    assert "has failed" in told.out
    assert "DatasetInvalid: data.yaml: `names` is missing" in told.out
    assert "Mend that, delete this job" in told.out
    assert "\x1b" not in told.out, "a trainer's words do not steer a terminal"
    watched = relay("watch", "digits", "-n", world.namespace)
    assert watched.code == 10


def test_a_running_job_is_watched_to_its_end(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    world.apply_job("digits")
    trains(world, trainer, "digits")
    watch = relay.start("watch", "digits", "-n", world.namespace)
    assert watch.stdout is not None
    assert "Training  epoch 12/100  mAP50 0.61" in watch.stdout.readline()
    trainer.epoch, trainer.metrics = 57, {"mAP50": 0.85, "mAP50_95": 0.53}
    assert "epoch 57/100  mAP50 0.85" in watch.stdout.readline()
    world.end_pod("digits-1", epoch=100, message="100 of 100 epochs")
    rest = watch.stdout.read()
    assert "Succeeded  epoch 100/100" in rest.splitlines()[-1]
    assert watch.wait(30) == 0
    shown = relay.on_a_terminal("watch", "digits", "-n", world.namespace)
    assert shown.code == 0
    assert "\x1b[" in shown.out
    assert re.search(r"━{20}.*epoch 100/100", shown.out)
    plain = relay.on_a_terminal("watch", "digits", "-n", world.namespace, NO_COLOR="1")
    assert "\x1b[3" not in plain.out, "no colours where somebody wants none"


def test_a_watch_ends_with_the_job_however_it_ends(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    assert relay("watch", "digits", "-n", world.namespace, "--timeout", "1s").code == 13
    following = relay.start("watch", "digits", "-n", world.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    world.delete_job("digits")
    assert following.wait(30) == 11
    assert "was deleted" in (following.stderr.read() if following.stderr else "")


def test_suspend_resume_and_cancel(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    here = ("-n", world.namespace)
    world.apply_job("digits")
    trains(world, trainer, "digits")
    done = relay("suspend", "digits", *here)
    assert done.out.startswith("yolotrainingjob.gpurelay.dev/digits suspended"), done.err
    world.end_pod("digits-1", "Interrupted", 143, epoch=12)
    world.reaches("digits", "Suspended")
    assert relay("watch", "digits", *here).code == 12
    assert "is suspended already" in relay("suspend", "digits", *here).out
    assert "resumed" in relay("resume", "digits", *here).out
    world.shows_pod("digits-2")
    unasked = relay("cancel", "digits", *here)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    declined = relay.on_a_terminal("cancel", "digits", *here, typed="n\n")
    assert declined.code == 1
    assert "a new job begins from the start" in re.sub(r"\s+", " ", declined.out)
    assert world.has_job("digits")
    assert relay("cancel", "digits", *here, "--yes").code == 0
    eventually(lambda: not world.has_job("digits"), "digits to be deleted")


def test_the_timeline_of_a_gpu(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    world.apply_job("first")
    trains(world, trainer, "first")
    world.end_pod("first-1", epoch=100)
    world.reaches("first", "Succeeded")
    eventually(lambda: "ResidentLoaded" in world.events("first"), "the Event that the resident is back")
    world.apply_job("second")
    trains(world, trainer, "second")
    shown = relay("timeline", "-n", world.namespace)
    assert shown.code == 0, shown.err
    assert re.search(rf"{GPU}  on node-1\n +A+.*B+\n", shown.out)
    assert re.search(rf"A  {world.namespace}/first +[\d:]+ +[\d:]+ +\d+s +Completed +after \d+s", shown.out)
    assert re.search(rf"B  {world.namespace}/second +[\d:]+ +now", shown.out)
    world.delete_job("first")
    eventually(lambda: not world.has_job("first"), "first to be deleted")
    turns = json.loads(relay("timeline", "-n", world.namespace, "-o", "json").out)["gpus"][0]["turns"]
    assert [turn["job"]["name"] for turn in turns] == ["first", "second"], "Events outlive a job"
    assert turns[0]["over"]
    assert turns[0]["back"]


def test_a_job_that_was_deleted_while_it_trained_is_not_the_owner_now(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    world.apply_job("first")
    world.shows_pod("first-1")
    eventually(lambda: "PodCreated" in world.events("first"), "the Event that the pod was created")
    world.delete_job("first")
    eventually(lambda: world.pod_names() == [], "the training pod to go")
    eventually(world.nothing_owed, "the Lease to be settled")
    world.apply_job("second")
    trains(world, trainer, "second")
    (line,) = json.loads(relay("timeline", "-n", world.namespace, "-o", "json").out)["gpus"]
    assert (line["gpu"], line["node"]) == (GPU, "node-1")
    first, second = line["turns"]
    assert (first["job"]["name"], first["over"], first["end"]) == ("first", True, None)
    assert first["endedBy"] == second["begin"]
    assert (second["job"]["name"], second["over"]) == ("second", False)
    shown = relay("timeline", "-n", world.namespace).out
    assert re.search(rf"A  {world.namespace}/first +[\d:]+ +by [\d:]+ ", shown)
    assert re.search(rf"B  {world.namespace}/second +[\d:]+ +now", shown)


def test_what_a_trainer_says_steers_no_terminal(
    world: World, resident: ScriptedResident, operator: OperatorProcess, relay: Plugin, trainer: ScriptedTrainer
) -> None:
    trainer.stage, trainer.eta_seconds = "\x1b]0;owned\x07\x1b[2J", None
    trainer.metrics = {"\x1b[31mmAP50": 0.5}
    world.apply_job("digits")
    trains(world, trainer, "digits")
    world.end_pod("digits-1", "Error", 1, message="\x1b[2J[link=https://evil.example]bad[/link]")
    for command in (("watch", "digits", "--timeout", "2s"), ("explain", "digits"), ("gpus",), ("timeline",)):
        shown = relay.on_a_terminal(*command, "-n", world.namespace).out
        assert "\x1b]0" not in shown, command
        assert "\x1b[2J" not in shown, command
        assert "\x1b[31mmAP50" not in shown, command
        assert "\x1b]8" not in shown, command


@pytest.fixture
def viewer(cluster: Cluster, world: World, api: httpx.Client, tmp_path: Path) -> Plugin:
    """The plugin in the hands of somebody who may view one namespace and nothing else."""
    account = {"metadata": {"name": "viewer"}}
    api.post(f"/api/v1/namespaces/{world.namespace}/serviceaccounts", json=account).raise_for_status()
    binding = {
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": world.namespace}],
    }
    api.post(f"{ROLES}/namespaces/{world.namespace}/rolebindings", json=binding).raise_for_status()
    kubeconfig = accounts.write_kubeconfig(api, cluster.run_dir, world.namespace, "viewer")
    plugin = Plugin(tmp_path / "bin", kubeconfig)
    eventually(lambda: plugin("gpus", "-n", world.namespace).code == 0, "the role `view` to include jobs")
    return plugin


def test_a_viewer_of_one_namespace_is_told_what_may_be_known(
    world: World, resident: ScriptedResident, operator: OperatorProcess, viewer: Plugin, trainer: ScriptedTrainer
) -> None:
    here = ("-n", world.namespace)
    world.apply_job("defects")
    trains(world, trainer, "defects")
    world.apply_job("digits")
    eventually(lambda: world.waits_for("digits", "WaitingInQueue"), "digits to wait")
    shown = viewer("gpus", *here)
    told = re.sub(r"\s+", " ", shown.out)
    assert re.search(rf"{GPU} Tesla T4 on node-1 owner {world.namespace}/defects for", told)
    assert f"1 {world.namespace}/digits" in told
    assert "queue empty" not in told
    assert "jobs of other namespaces were not read, and may wait, too" in told
    assert "you may not list leases.coordination.k8s.io in namespace gpu-relay (a rule with apiGroups" in told
    assert "number 1 in the queue" in viewer("explain", "digits", *here).out
    assert "B" not in viewer("timeline", *here).out.split("\n")[1]
    everywhere = viewer("gpus", "-A")
    assert everywhere.code == 4
    assert "list yolotrainingjobs.gpurelay.dev in all namespaces" in everywhere.err
    refused = viewer("suspend", "digits", *here)
    assert refused.code == 4
    assert "patch yolotrainingjobs.gpurelay.dev" in refused.err
    for each in (shown, everywhere, refused):
        assert "Traceback" not in each.err


def test_a_job_that_does_not_exist(world: World, relay: Plugin) -> None:
    world.apply_job("digits")
    near = relay("explain", "digit", "-n", world.namespace)
    assert near.code == 3
    assert "did you mean digits?" in near.err
    elsewhere = relay("watch", "digits", "-n", "default")
    assert f"there is one in {world.namespace}: use -n {world.namespace}" in elsewhere.err


def test_kubectl_completes(world: World, relay: Plugin) -> None:
    world.apply_job("digits", suspend=True)
    world.apply_job("defects")
    assert set(relay.completes("")) > {"gpus", "watch", "explain", ":4"}
    assert relay.completes("explain", "-n", world.namespace, "d") == ["defects", "digits", ":4"]
    assert relay.completes("-n", world.namespace, "resume", "") == ["digits", ":4"]
    assert world.namespace in relay.completes("gpus", "-n", world.namespace[:4])
    assert relay.completes("gpus", "--kubeconfig", "") == [":0"], "file names are the shell's"
