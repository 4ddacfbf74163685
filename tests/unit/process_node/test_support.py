"""What a process node cannot do is refused in a sentence."""

from typing import Any

import pytest

from devcluster.process_node.support import unsupported

HTTP = {"httpGet": {"port": 8000, "path": "/health"}}


def pod(**changes: Any) -> dict[str, Any]:
    container = {"name": "c", "readinessProbe": HTTP, **changes.pop("container", {})}
    return {"spec": {"containers": [container], **changes}}


def test_a_usual_pod_is_supported() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": []}}]
    assert unsupported(pod(volumes=volumes, initContainers=[{"name": "i"}])) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"volumes": [{"name": "v", "nfs": {}}]}, "nfs (volume v)"),
        ({"initContainers": [{"name": "s", "restartPolicy": "Always"}]}, "sidecar init containers (s)"),
        ({"container": {"lifecycle": {"preStop": {}}}}, "lifecycle hooks (container c)"),
        ({"container": {"livenessProbe": {"exec": {}}}}, "a livenessProbe other than httpGet (container c)"),
        ({"container": {"volumeMounts": [{"name": "v", "subPathExpr": "$(X)"}]}}, "subPathExpr (container c)"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: str) -> None:
    assert unsupported(pod(**changes)) == f"the process node does not support {reason}"
