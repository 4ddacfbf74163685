"""Volumes laid out on disk, from a scripted API."""
# ruff: noqa: ASYNC240 - small files in the test's own folder block no other task

import base64
from pathlib import Path
from typing import Any

import pytest

from devcluster.process_node.environment import Facts
from devcluster.process_node.mounts import Mounts
from devcluster.process_node.volumes import PodVolumes, VolumeError
from gpu_relay.clients.kube import Kube, KubeError

NAMESPACE = "/api/v1/namespaces/ns"


class ScriptedApi(Kube):
    """An API server that holds these objects, and counts the tokens it hands out."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects
        self.requests: list[dict[str, Any]] = []

    async def get(self, path: str, *, timeout: float | None = None) -> dict[str, Any]:
        if path not in self.objects:
            raise KubeError(404, "NotFound", f"{path} not found")
        return dict(self.objects[path])

    async def create(self, path: str, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        assert path == f"{NAMESPACE}/serviceaccounts/robot/token"
        self.requests.append(body["spec"])
        return {"status": {"token": f"token-{len(self.requests)}"}}


@pytest.fixture
def api() -> ScriptedApi:
    return ScriptedApi(
        {
            f"{NAMESPACE}/configmaps/conf": {"data": {"a": "in /out/x", "b": "2"}, "binaryData": {"c": "/w=="}},
            f"{NAMESPACE}/secrets/key": {"data": {"k": base64.b64encode(b"/out").decode()}},
        }
    )


def pod(volume: dict[str, Any], **mount: Any) -> dict[str, Any]:
    volumes = [{"name": "v", **volume}, {"name": "out", "emptyDir": {}}]
    mounts = [{"name": "v", "mountPath": "/v", **mount}, {"name": "out", "mountPath": "/out"}]
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "labels": {"l": 'say "hi"'}, "annotations": {"job": "/out"}}
    containers = [{"name": "c", "volumeMounts": mounts}]
    return {"metadata": metadata, "spec": {"serviceAccountName": "robot", "volumes": volumes, "containers": containers}}


class Layout:
    def __init__(self, api: Kube, folder: Path) -> None:
        self.volumes = PodVolumes(api, folder, Facts("node-1", "127.70.0.1", "127.0.0.1"), [])
        self.mounts: Mounts = Mounts([])

    async def mount(self, pod: dict[str, Any]) -> dict[str, str]:
        self.mounts = (await self.volumes.mount(pod))["c"]
        place = Path(self.mounts.to_places("/v"))
        if place.is_file():
            return {"": place.read_text()}
        return {str(file.relative_to(place)): file.read_text("latin-1") for file in place.rglob("*") if file.is_file()}


@pytest.fixture
def layout(api: ScriptedApi, tmp_path: Path) -> Layout:
    return Layout(api, tmp_path)


async def test_config_maps(layout: Layout) -> None:
    shown = await layout.mount(pod({"configMap": {"name": "conf"}}))
    assert shown == {"a": f"in {layout.mounts.to_places('/out')}/x", "b": "2", "c": "\xff"}


async def test_items_choose_names_and_modes(layout: Layout) -> None:
    items = [{"key": "b", "path": "deep/B", "mode": 0o600}]
    assert await layout.mount(pod({"configMap": {"name": "conf", "items": items}})) == {"deep/B": "2"}
    assert Path(layout.mounts.to_places("/v/deep/B")).stat().st_mode & 0o777 == 0o600


async def test_a_pod_template_is_not_translated(layout: Layout, api: ScriptedApi) -> None:
    template = "volumeMounts: [{name: tmp, mountPath: /out}]"
    api.objects[f"{NAMESPACE}/configmaps/conf"] = {"data": {"template.yaml": template}}
    assert await layout.mount(pod({"configMap": {"name": "conf"}})) == {"template.yaml": template}


async def test_secrets_are_not_translated(layout: Layout) -> None:
    shown = await layout.mount(pod({"secret": {"secretName": "key", "defaultMode": 0o400}}))
    assert shown == {"k": "/out"}
    assert Path(layout.mounts.to_places("/v/k")).stat().st_mode & 0o777 == 0o400


async def test_one_file_by_sub_path(layout: Layout) -> None:
    assert await layout.mount(pod({"configMap": {"name": "conf"}}, subPath="b")) == {"": "2"}


async def test_what_changes_is_renewed(layout: Layout, api: ScriptedApi) -> None:
    wanted = pod({"configMap": {"name": "conf"}})
    await layout.mount(wanted)
    api.objects[f"{NAMESPACE}/configmaps/conf"] = {"data": {"b": "3", "d": "4"}}
    assert await layout.mount(wanted) == {"b": "3", "d": "4"}


async def test_downward_api(layout: Layout) -> None:
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "job.json", "fieldRef": {"fieldPath": "metadata.annotations['job']"}},
        {"path": "ip", "fieldRef": {"fieldPath": "status.podIP"}},
    ]
    assert await layout.mount(pod({"downwardAPI": {"items": items}})) == {
        "labels": 'l="say \\"hi\\""',
        "job.json": layout.mounts.to_places("/out"),
        "ip": "127.70.0.1",
    }


async def test_projected_tokens_are_bound_and_kept_while_fresh(layout: Layout, api: ScriptedApi) -> None:
    token = {"serviceAccountToken": {"path": "token", "audience": "gpu-relay", "expirationSeconds": 600}}
    wanted = pod({"projected": {"sources": [token, {"configMap": {"name": "conf", "items": []}}]}})
    assert (await layout.mount(wanted))["token"] == (await layout.mount(wanted))["token"] == "token-1"
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    assert api.requests == [{"audiences": ["gpu-relay"], "expirationSeconds": 600, "boundObjectRef": bound}]


async def test_old_tokens_are_renewed(layout: Layout, api: ScriptedApi) -> None:
    wanted = pod({"projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 0}}]}})
    await layout.mount(wanted)
    assert await layout.mount(wanted) == {"token": "token-2"}


async def test_claims_lead_to_folders(layout: Layout, api: ScriptedApi, tmp_path: Path) -> None:
    claim = f"{NAMESPACE}/persistentvolumeclaims/data"
    wanted = pod({"persistentVolumeClaim": {"claimName": "data"}})
    api.objects[claim] = {"status": {"phase": "Pending"}, "spec": {}}
    with pytest.raises(VolumeError, match="PersistentVolumeClaim data is not bound"):
        await layout.mount(wanted)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.yaml").write_text("x")
    api.objects[claim] = {"status": {"phase": "Bound"}, "spec": {"volumeName": "pv"}}
    api.objects["/api/v1/persistentvolumes/pv"] = {"spec": {"hostPath": {"path": str(tmp_path / "set")}}}
    assert await layout.mount(wanted) == {"data.yaml": "x"}
    assert layout.mounts.to_paths(str(tmp_path / "set" / "data.yaml")) == "/v/data.yaml"


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "absent"}}, "configmap 'absent' not found"),
        ({"configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}}, "configmap 'conf' has no key 'z'"),
        ({"secret": {"secretName": "absent"}}, "secret 'absent' not found"),
        ({"persistentVolumeClaim": {"claimName": "absent"}}, "persistentvolumeclaims/absent not found"),
        ({"hostPath": {"path": "/no/such/folder", "type": "Directory"}}, "hostPath /no/such/folder"),
        ({"projected": {"sources": [{"clusterTrustBundle": {}}]}}, "cannot project clusterTrustBundle"),
        ({"downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {}}]}}, "knows fieldRef only"),
        ({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.x"}}]}}, r"no field 'spec\.x'"),
    ],
)
async def test_what_is_missing_is_said(layout: Layout, volume: dict[str, Any], message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        await layout.mount(pod(volume))


@pytest.mark.parametrize(
    "volume",
    [
        {"configMap": {"name": "absent", "optional": True}},
        {"secret": {"secretName": "absent", "optional": True}},
        {"configMap": {"name": "conf", "optional": True, "items": [{"key": "z", "path": "z"}]}},
    ],
)
async def test_what_is_optional_may_be_missing(layout: Layout, volume: dict[str, Any]) -> None:
    assert await layout.mount(pod(volume)) == {}


async def test_an_empty_folder_outlives_a_second_mount(layout: Layout) -> None:
    await layout.mount(pod({"emptyDir": {}}))
    Path(layout.mounts.to_places("/v/x")).write_text("kept")
    assert await layout.mount(pod({"emptyDir": {}})) == {"x": "kept"}
