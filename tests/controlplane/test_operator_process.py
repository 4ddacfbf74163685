"""The operator as a process: probes, metrics, logs, signals, and the rights of a single namespace."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from devcluster import Cluster
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually
from tests.support.rights import kubeconfig_of_one_namespace

Start = Callable[..., OperatorProcess]


def run_a_job(world: World, times: tuple[str, str] | None = None) -> None:
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    world.run_pod("digits-1")
    eventually(lambda: "TrainingRunning" in world.events("digits"), "the operator to see it run")
    world.end_pod("digits-1", times=times)
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")


def test_a_turn_in_metrics(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    run_a_job(world, times=("2026-01-01T12:00:00Z", "2026-01-01T12:01:40Z"))
    metrics = dict(
        line.rsplit(" ", 1) for line in operator.probe("/metrics").text.splitlines() if line.startswith("gpu_relay_")
    )
    gpu = f'{{gpu="{resident.uuid.lower()}"}}'
    for step in ("unload", "prove", "create", "start", "return", "load"):
        assert float(metrics[f'gpu_relay_step_seconds_count{{step="{step}"}}']) == 1, step
    assert float(metrics[f'gpu_relay_turns_total{{gpu="{resident.uuid.lower()}",kind="yolotrainingjob"}}']) == 1
    assert float(metrics[f"gpu_relay_free_memory_before_mib{gpu}"]) == 910
    assert float(metrics[f"gpu_relay_free_memory_after_mib{gpu}"]) == 14_910
    assert float(metrics[f"gpu_relay_resident_outage_seconds_count{gpu}"]) == 1
    assert float(metrics[f"gpu_relay_resident_out{gpu}"]) == 0
    assert float(metrics['gpu_relay_queue_wait_seconds_count{kind="yolotrainingjob"}']) == 1
    assert float(metrics["gpu_relay_queue_length"]) == 0
    assert float(metrics["gpu_relay_queue_oldest_seconds"]) == 0
    ended = f'job_namespace="{world.namespace}",phase="Succeeded",reason="Completed"'
    assert float(metrics[f"gpu_relay_jobs_finished_total{{{ended}}}"]) == 1
    trained = f'gpu="{resident.uuid.lower()}",job_namespace="{world.namespace}"'
    assert float(metrics[f"gpu_relay_training_seconds_total{{{trained}}}"]) == 100
    assert float(metrics[f'gpu_relay_gpu_info{{gpu="{resident.uuid.lower()}",name="Tesla T4",node="node-1"}}']) == 1
    assert float(metrics['gpu_relay_resident_requests_total{call="unload",status="200"}']) >= 1
    assert float(metrics['gpu_relay_api_requests_total{method="POST",status="201"}']) >= 2
    assert float(metrics["gpu_relay_watch_lag_seconds"]) == 0
    assert operator.probe("/healthz").text == "ok"


def test_every_line_of_a_turn_names_its_job(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    operator = start_operator(log_format="json")
    run_a_job(world)
    operator.stop()
    lines = [json.loads(line) for line in operator.log().splitlines()]
    shown = [line for line in lines if line["level"] != "debug"]
    assert not [line for line in shown if re.search(r"\w+\(.*=", line["message"])], "no Python"
    about = [
        line
        for line in shown
        if line["logger"] in {"gpu_relay.controllers.turn_actions", "gpu_relay.controllers.turn_controller"}
    ]
    assert len(about) >= 4
    fences = {line["fence"] for line in about}
    assert len(fences) == 1
    for line in about:
        assert (line["gpu"], line["job"]) == (resident.uuid.lower(), f"{world.namespace}/digits")


def test_sigterm_in_the_midst_of_a_turn(world: World, resident: ScriptedResident, start_operator: Start) -> None:
    """It ends immediately and cleanly; the training continues, and the next process finishes the turn."""
    operator = start_operator()
    world.apply_job("digits")
    eventually(lambda: world.pod_names() == ["digits-1"], "the training pod")
    assert operator.stop() == 0
    assert world.leader() == ""
    assert world.pod_names() == ["digits-1"]
    assert "Traceback" not in operator.log()
    start_operator()
    world.end_pod("digits-1")
    world.reaches("digits", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    assert resident.loaded


def test_with_the_rights_of_one_namespace(
    world: World, resident: ScriptedResident, cluster: Cluster, tmp_path: Path
) -> None:
    """GPU_RELAY_WATCH_NAMESPACE needs a Role there and a Role for Leases, and no rights on anything else."""
    kubeconfig = kubeconfig_of_one_namespace(cluster, world, tmp_path)
    operator = OperatorProcess(kubeconfig, tmp_path / "operator.log", watch_namespace=world.namespace)
    operator.start()
    try:
        run_a_job(world)
        assert resident.loaded
        assert "Traceback" not in operator.log()
        forbidden = [line for line in operator.log().splitlines() if "orbidden" in line]
        assert len(forbidden) == 1, "nodes belong to no namespace, and are unknown without a right to them"
        assert "node node-1 cannot be read, so its state is unknown" in forbidden[0]
    finally:
        operator.stop()


def test_a_mistake_in_the_sites_template_ends_the_start(
    cluster: Cluster, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec: {tolerationz: [], containers: [{name: trainer, image: mine}]}")
    operator = OperatorProcess(operator_kubeconfig, tmp_path / "operator.log", trainer_pod_template=str(template))
    operator.start()
    assert operator.wait(30) == 1
    assert "spec.tolerationz is not a field of Kubernetes; did you mean tolerations?" in operator.log()
    assert "Traceback" not in operator.log()
