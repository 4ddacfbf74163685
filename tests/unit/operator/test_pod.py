"""How a training pod is read: when it is live, and when it outlives its trainer."""

from typing import Any

import pytest

from gpu_relay.domain.objects.pod import training_pod_of

KILLED = {"terminated": {"exitCode": 137}}


@pytest.mark.parametrize(
    ("state", "live"),
    [
        ({"phase": "Running", "containerStatuses": [{"name": "trainer", "state": {"running": {}}}]}, True),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, False),
        ({"phase": "Running", "containerStatuses": [{"name": "trainer", "state": KILLED}]}, False),
        ({"phase": "Running", "containerStatuses": [{"name": "log-shipper", "state": KILLED}]}, True),
        ({}, True),
    ],
)
def test_a_pod_is_live_until_its_end_is_known(state: dict[str, Any], live: bool) -> None:
    meta = {"namespace": "n", "name": "x", "uid": "u", "creationTimestamp": "t", "labels": {}}
    assert training_pod_of({"metadata": meta, "status": state}).live is live


@pytest.mark.parametrize(
    ("status", "outlived"),
    [
        ({"containerStatuses": [["log-shipper", {"running": {}}], ["trainer", KILLED]]}, True),
        ({"containerStatuses": [["log-shipper", {"waiting": {}}], ["trainer", KILLED]]}, True),
        ({"containerStatuses": [["trainer", KILLED]]}, True),
        ({"containerStatuses": [["log-shipper", KILLED], ["trainer", KILLED]]}, True),
        (
            {
                "containerStatuses": [["log-shipper", KILLED], ["trainer", KILLED]],
                "initContainerStatuses": [["fetch", KILLED], ["proxy", KILLED]],
            },
            False,
        ),
        ({"phase": "Failed", "containerStatuses": [["trainer", KILLED]]}, False),
    ],
)
def test_a_pod_outlives_its_trainer_until_every_container_has_ended(status: dict[str, Any], outlived: bool) -> None:
    """One without a status, as where the kubelet has not got to it, may still run."""
    spec = {
        "containers": [{"name": "trainer"}, {"name": "log-shipper"}],
        "initContainers": [{"name": "fetch"}, {"name": "proxy", "restartPolicy": "Always"}],
    }
    kinds = {
        kind: [{"name": name, "state": state} for name, state in containers]
        for kind, containers in status.items()
        if kind != "phase"
    }
    pod = training_pod_of({"metadata": {}, "spec": spec, "status": {"phase": "Running", **status, **kinds}})
    assert pod.termination is not None
    assert (pod.outlived, pod.live) == (outlived, outlived)
