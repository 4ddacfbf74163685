"""The port of a resident's API: one rule, for the operator and the plugin."""

from typing import Any

import pytest

from gpu_relay.controllers.runtime.store import Cache
from gpu_relay.domain.objects.resident import port_of
from kubectl_relay.effects.cluster import resident_port

HTTP = {"ports": [{"containerPort": 9090}, {"name": "http", "containerPort": 9000}]}


def pod(*containers: dict[str, Any], port: str | None = None) -> dict[str, Any]:
    annotations = {} if port is None else {"gpurelay.dev/port": port}
    return {
        "metadata": {
            "namespace": "gpu-relay", "name": "sam3", "uid": "u", "resourceVersion": "1", "creationTimestamp": "t",
            "annotations": annotations,
        },
        "spec": {"containers": list(containers)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "port"),
    [
        (pod(), 8000),
        (pod({}), 8000),
        (pod({"ports": [{"containerPort": 9090}]}), 8000),
        (pod({"ports": [{"name": "metrics", "containerPort": 9090}]}, HTTP), 9000),
        (pod(HTTP, port="9100"), 9100),
        *((pod(HTTP, port=wrong), 9000) for wrong in ("", "http", "0", "65536", "9" * 5000, "-1")),
    ],
)
def test_the_annotation_then_the_port_named_http_then_the_setting(raw: dict[str, Any], port: int) -> None:
    assert port_of(raw) == port


def test_the_operator_and_the_plugin_take_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_RELAY_RESIDENT_PORT", "9200")
    for raw, port in ((pod({}), 9200), (pod(HTTP), 9000), (pod(HTTP, port="9100"), 9100)):
        cache = Cache(lambda _: True, 9200)
        cache.observe_resident(raw)
        (seen,) = cache.residents.values()
        assert seen.port == port_of(raw, resident_port()) == port
