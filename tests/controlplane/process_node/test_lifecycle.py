"""How containers start, restart and end: probes, back-off, logs, grace periods, deadlines."""

import json

import pytest

from devcluster import ClusterError
from devcluster.waiting import eventually
from tests.support.process_node import SERVER, Node, Pods, mounts


def test_a_pod_is_not_ready_before_its_probe_passes(pods: Pods) -> None:
    script = f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\n{SERVER}"
    probe = {"httpGet": {"port": 8000}, "periodSeconds": 1}
    container = {"startupProbe": {**probe, "failureThreshold": 60}, "readinessProbe": probe, "workingDir": "/w"}
    mount = {"volumeMounts": mounts("w")}
    pods.run("slow", "python", "-c", script, container={**container, **mount}, volumes=[{"name": "w", "emptyDir": {}}])
    pods.until("slow", "Running")
    status = pods.main("slow")
    assert (status["started"], status["ready"]) == (False, False)
    pods.kubectl("annotate", "pod", "slow", "nothing=changes")
    uid = pods.get("slow")["metadata"]["uid"]
    (pods.cluster.run_dir / "node" / "pods" / uid[:8] / "volumes" / "w" / "go").touch()
    pods.kubectl("wait", "--for=condition=Ready", "pod/slow", "--timeout=30s")
    assert pods.main("slow")["started"] is True


def test_a_container_whose_liveness_fails_is_started_again(pods: Pods) -> None:
    probe = {"httpGet": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1}
    pods.run("stuck", "sleep", "600", container={"livenessProbe": probe}, restartPolicy="Always")
    eventually(lambda: pods.main("stuck").get("restartCount", 0) >= 1, "a restart")
    assert pods.main("stuck")["lastState"]["terminated"]["exitCode"] == 143


def test_crashes_back_off_and_end(pods: Pods) -> None:
    script = 'n=$(cat /s/n 2>/dev/null || echo 0); echo $((n+1)) > /s/n; echo "run $n"; [ $n -ge 2 ]'
    mount = {"volumeMounts": mounts("s")}
    volumes = [{"name": "s", "emptyDir": {}}]
    pods.run("flaky", "sh", "-c", script, container=mount, volumes=volumes, restartPolicy="OnFailure")
    waits = eventually(lambda: pods.main("flaky").get("state", {}).get("waiting"), "a back-off", every=0.02)
    assert waits["reason"] in ("CrashLoopBackOff", "ContainerCreating")
    pods.until("flaky", "Succeeded")
    status = pods.main("flaky")
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (pods.logs("flaky"), pods.logs("flaky", "--previous")) == ("run 2\n", "run 1\n")


def test_logs_follow_and_end(pods: Pods) -> None:
    pods.run("talker", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.4; done")
    eventually(lambda: pods.logs("talker"), "a first line")
    assert pods.logs("talker", "--follow") == "line 1\nline 2\nline 3\n"
    assert pods.logs("talker", "--tail=1") == "line 3\n"
    with pytest.raises(ClusterError, match="keeps no times"):
        pods.kubectl("logs", "talker", "--timestamps")


def test_a_pod_has_time_to_end(pods: Pods) -> None:
    script = "trap 'echo bye > /dev/termination-log; sleep 0.3; exit 143' TERM; echo up; while :; do sleep 0.05; done"
    pods.run("polite", "sh", "-c", script, terminationGracePeriodSeconds=60)
    eventually(lambda: pods.logs("polite"), "the trap")
    # a finalizer keeps the object, so that its last status can be read
    pods.kubectl("patch", "pod", "polite", "-p", '{"metadata": {"finalizers": ["gpurelay.dev/test"]}}')
    pods.kubectl("delete", "pod", "polite", "--wait=false")
    terminated = eventually(lambda: pods.main("polite")["state"].get("terminated"), "its last status")
    assert (terminated["exitCode"], terminated["message"]) == (143, "bye\n")
    pods.kubectl("patch", "pod", "polite", "-p", '{"metadata": {"finalizers": null}}')
    eventually(lambda: pods.gone("polite"), "the end")


def test_a_stubborn_pod_is_killed_with_all_it_started(pods: Pods, node: Node) -> None:
    before = node.pods_processes()
    script = "trap '' TERM; setsid sleep 600 & setsid sleep 600 & echo up; while :; do sleep 0.1; done"
    pods.run("stubborn", "sh", "-c", script, terminationGracePeriodSeconds=1)
    eventually(lambda: pods.logs("stubborn"), "its start")
    assert len(node.pods_processes() - before) >= 4
    pods.kubectl("delete", "pod", "stubborn", "--timeout=30s")
    assert node.pods_processes() <= before


def test_a_pod_removed_by_force_leaves_no_process(pods: Pods, node: Node) -> None:
    before = node.pods_processes()
    pods.run("lost", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    eventually(lambda: pods.logs("lost"), "its start")
    pods.kubectl("delete", "pod", "lost", "--force", "--grace-period=0")
    assert pods.gone("lost")
    eventually(lambda: node.pods_processes() <= before, "no process")


def test_a_deadline_ends_a_pod(pods: Pods) -> None:
    pods.run("late", "sleep", "600", activeDeadlineSeconds=4)  # longer than the start takes
    failed = "jsonpath={.status.phase}=Failed"
    first = pods.kubectl("wait", f"--for={failed}", "pod/late", "--timeout=60s", "-o", "json")
    status = json.loads(first)["status"]  # the first version with this phase has the reason, too
    assert status["reason"] == "DeadlineExceeded"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
