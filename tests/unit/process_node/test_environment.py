"""A container's environment and command, by the rules of Kubernetes."""

from pathlib import Path
from typing import Any

import pytest

from devcluster.process_node import images
from devcluster.process_node.environment import (
    ConfigError,
    Facts,
    ImageError,
    Sources,
    command_line,
    environment,
    expand,
    field_value,
    references,
)
from devcluster.process_node.mounts import Mount, Mounts

FACTS = Facts("node-1", "127.70.1.2", "127.0.0.1")
POD: dict[str, Any] = {
    "metadata": {
        "name": "digits-1",
        "namespace": "vision",
        "uid": "u-1",
        "labels": {"gpurelay.dev/job": "digits"},
        "annotations": {"a/b": "c"},
    },
    "spec": {"serviceAccountName": "trainer"},
}
MOUNTS = Mounts([Mount("/data", Path("/run/data"), Path("/srv/data"))])
SOURCES: Sources = {
    ("ConfigMap", "settings"): {"LEVEL": "debug", "not a name": "x", "path": "/data/y"},
    ("Secret", "token"): {"key": "s3cret"},
    ("ConfigMap", "absent"): None,
}


def env(*variables: dict[str, Any], env_from: list[dict[str, Any]] | None = None) -> dict[str, str]:
    container = {"name": "c", "env": list(variables), "envFrom": env_from or []}
    return environment(container, POD, FACTS, SOURCES, {"HOME": "/home", "LEVEL": "image"}, MOUNTS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "digits-1"),
        ("metadata.namespace", "vision"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['gpurelay.dev/job']", "digits"),
        ("metadata.annotations['a/b']", "c"),
        ("metadata.annotations['absent']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "trainer"),
        ("status.podIP", "127.70.1.2"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_field_references(path: str, value: str) -> None:
    assert field_value(POD, path, FACTS) == value
    assert env({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}})["X"] == value


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"status\.phase"):
        field_value(POD, "status.phase", FACTS)


def test_values_override_and_expand_what_came_before() -> None:
    shown = env(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)$(HOME)$(LATER)$$(A)"},
        {"name": "LATER", "value": "2"},
        {"name": "LEVEL", "value": "pod"},
    )
    assert shown["B"] == "1/home$(LATER)$(A)"
    assert shown["LEVEL"] == "pod"


def test_mount_paths_are_translated() -> None:
    assert env({"name": "ROOT", "value": "/data"}, {"name": "SET", "value": "$(ROOT)/x"}) | {"HOME": ""} == {
        "HOME": "",
        "LEVEL": "image",
        "ROOT": "/run/data",
        "SET": "/run/data/x",
    }


def test_keys_of_config_maps_and_secrets() -> None:
    shown = env(
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "LEVEL"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k", "optional": True}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "token", "key": "k", "optional": True}}},
    )
    assert (shown["A"], shown["B"]) == ("debug", "s3cret")
    assert not {"C", "D"} & shown.keys()


def test_whole_config_maps() -> None:
    shown = env(env_from=[{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}}])
    assert {name: shown[name] for name in ("P_LEVEL", "P_path", "key")} == {
        "P_LEVEL": "debug",
        "P_path": "/run/data/y",
        "key": "s3cret",
    }
    assert "P_not a name" not in shown


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "absent", "key": "k"}}, "configmap 'absent' not found"),
        ({"secretKeyRef": {"name": "token", "key": "k"}}, "couldn't find key k in Secret token"),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "knows no resourceFieldRef"),
    ],
)
def test_what_is_missing_is_an_error(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        env({"name": "X", "valueFrom": source})
    assert ConfigError.reason == "CreateContainerConfigError"


def test_references_are_found() -> None:
    container = {
        "env": [
            {"name": "A", "value": "x"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "m"}}],
    }
    assert references(container) == {("Secret", "s"), ("ConfigMap", "m")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("$()", "$()")],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_command_lines() -> None:
    sam3 = images.find("registry.local:5000/gpu-relay/sam3:v1@sha256:00")
    assert command_line({"name": "c", "args": ["--port=$(P)"]}, sam3, {"P": "1"}, MOUNTS) == [
        *("python", "-m", "sam3_server"),
        "--port=1",
    ]
    own = {"name": "c", "command": ["cat"], "args": ["/data/$(P)"]}
    assert command_line(own, sam3, {"P": "1"}, MOUNTS) == ["cat", "/run/data/1"]


def test_an_unknown_image_needs_a_command() -> None:
    with pytest.raises(ImageError, match="no image 'busybox'"):
        command_line({"name": "c", "image": "busybox", "args": ["x"]}, images.find("busybox"), {}, MOUNTS)
    assert ImageError.reason == "ErrImagePull"


@pytest.mark.parametrize(
    ("reference", "module"),
    [
        ("gpu-relay/operator", "gpu_relay"),
        ("gpu-relay/yolo:dev", "yolo_trainer"),
        ("ghcr.io/someone/gpu-relay/sam3@sha256:00", "sam3_server"),
        ("localhost:5000/gpu-relay/sam3", "sam3_server"),
    ],
)
def test_our_images(reference: str, module: str) -> None:
    assert images.find(reference).entrypoint == ("python", "-m", module)


@pytest.mark.parametrize("reference", ["sam3", "gpu-relay", "other/sam3", "gpu-relay/sam3/more", ""])
def test_other_images_bring_nothing(reference: str) -> None:
    assert images.find(reference) == images.Image()
