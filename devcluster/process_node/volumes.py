"""A pod's volumes: what the API says is in them, and where that lies on this machine.

<pod>/volumes/<volume>/                 emptyDir
<pod>/<container>/files/<volume>/       ConfigMap, Secret, downward API, projected: text, translated for this container
<pod>/<container>/mounts/<mount path>   a link to one of these, to a hostPath, or to a PVC's
"""

import asyncio
import base64
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.process_node.environment import ConfigError, Facts, Kind, field_value
from devcluster.process_node.mounts import Mount, Mounts
from devcluster.process_node.resources import ACCOUNT_TOKEN, CLAIMS, CONFIG_MAPS, SECRETS, VOLUMES
from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.resources import Resource

Object = dict[str, Any]
_KINDS: dict[str, Kind] = {"configMap": "ConfigMap", "secret": "Secret"}
_RESOURCES: dict[Kind, Resource] = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}
_TOKEN_SECONDS = 3600
#: A token is renewed when this share of its life has passed, as a kubelet does.
_TOKEN_RENEWAL = 0.8


class VolumeError(Exception):
    """A volume cannot be mounted yet; it is tried again."""


@dataclass(frozen=True)
class File:
    """One file of a volume. `text`: it may speak of mount paths, which are then translated."""

    content: bytes
    mode: int = 0o644
    text: bool = False


#: A folder of this machine, or files to be written for each container.
Content = Path | dict[str, File]


class PodVolumes:
    """The volumes of one pod, below `folder`."""

    def __init__(self, kube: Kube, folder: Path, facts: Facts, keep: Iterable[Path]) -> None:
        self._kube = kube
        self._folder = folder
        self._facts = facts
        self._keep = tuple(keep)
        self._tokens: dict[tuple[str, str], tuple[str, float]] = {}

    async def mount(self, pod: Object) -> dict[str, Mounts]:
        """Fetch and lay out everything; returns each container's mounts. Repeating it renews what changed.

        Raises VolumeError when something is missing that may yet come.
        """
        try:
            contents = {volume["name"]: await self._content(pod, volume) for volume in pod["spec"].get("volumes", [])}
        except (KubeError, ConfigError) as error:
            raise VolumeError(str(error)) from error
        spec = pod["spec"]
        # Files are small and few; on a thread only so that a slow disk does not hold up every other pod.
        return {
            container["name"]: await asyncio.to_thread(self._lay_out, container, contents)
            for container in (*spec.get("initContainers", []), *spec["containers"])
        }

    async def data(self, namespace: str, kind: Kind, name: str) -> dict[str, str] | None:
        """Return what a ConfigMap or Secret holds as text, None when it does not exist."""
        found = await self._object(namespace, kind, name)
        return None if found is None else {key: value.decode(errors="replace") for key, value in found.items()}

    async def _content(self, pod: Object, volume: Object) -> Content:
        if "emptyDir" in volume:
            return _made(self._folder / "volumes" / volume["name"])
        if "hostPath" in volume:
            return _host_path(volume["hostPath"])
        if "persistentVolumeClaim" in volume:
            return await self._claim(pod["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"])
        mode = next((source["defaultMode"] for source in volume.values() if "defaultMode" in source), 0o644)
        sources = volume["projected"].get("sources", []) if "projected" in volume else [volume]
        files: dict[str, File] = {}
        for source in sources:
            files |= await self._files(pod, volume["name"], source, mode)
        return files

    async def _files(self, pod: Object, volume: str, source: Object, mode: int) -> dict[str, File]:
        if "downwardAPI" in source:
            return {
                item["path"]: File(self._field(pod, item), item.get("mode", mode), text=True)
                for item in source["downwardAPI"].get("items", [])
            }
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: File((await self._token(pod, volume, wanted)).encode(), mode)}
        for key, kind in _KINDS.items():
            if key in source:
                return await self._keys(pod["metadata"]["namespace"], kind, source[key], mode)
        raise VolumeError(f"volume {volume}: the process node cannot project {', '.join(source)}")

    def _field(self, pod: Object, item: Object) -> bytes:
        if "fieldRef" not in item:
            raise VolumeError(f"downward API file {item['path']}: the process node knows fieldRef only")
        path = item["fieldRef"]["fieldPath"]
        if path in ("metadata.labels", "metadata.annotations"):
            pairs = pod["metadata"].get(path.removeprefix("metadata."), {})
            return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(pairs.items())).encode()
        return field_value(pod, path, self._facts).encode()

    async def _keys(self, namespace: str, kind: Kind, source: Object, mode: int) -> dict[str, File]:
        name = source.get("name") or source["secretName"]
        optional = source.get("optional", False)
        data = await self._object(namespace, kind, name)
        if data is None and not optional:
            raise VolumeError(f"{kind.lower()} {name!r} not found")
        data = data or {}
        items = source.get("items") or [{"key": key, "path": key} for key in data]
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not optional:
            raise VolumeError(f"{kind.lower()} {name!r} has no key {missing[0]!r}")
        return {
            item["path"]: File(data[item["key"]], item.get("mode", mode), text=kind == "ConfigMap")
            for item in items
            if item["key"] in data
        }

    async def _object(self, namespace: str, kind: Kind, name: str) -> dict[str, bytes] | None:
        try:
            found = await self._kube.get(_RESOURCES[kind].path(namespace, name))
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}
        plain = {key: value.encode() for key, value in found.get("data", {}).items()}
        return plain | {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}

    async def _claim(self, namespace: str, name: str) -> Path:
        claim = await self._kube.get(CLAIMS.path(namespace, name))
        if claim.get("status", {}).get("phase") != "Bound":
            raise VolumeError(f"PersistentVolumeClaim {name} is not bound")
        volume = await self._kube.get(VOLUMES.path(None, claim["spec"]["volumeName"]))
        for kind in ("hostPath", "local"):
            if kind in volume["spec"]:
                return _host_path(volume["spec"][kind])
        raise VolumeError(f"volume {volume['metadata']['name']} is neither hostPath nor local")

    async def _token(self, pod: Object, volume: str, wanted: Object) -> str:
        key = (volume, wanted["path"])
        token, renew_at = self._tokens.get(key, ("", 0.0))
        if time.monotonic() < renew_at:
            return token
        metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        seconds = wanted.get("expirationSeconds", _TOKEN_SECONDS)
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        audience = {"audiences": [wanted["audience"]]} if wanted.get("audience") else {}
        answer = await self._kube.create(
            ACCOUNT_TOKEN.path(metadata["namespace"], account),
            {"spec": {"expirationSeconds": seconds, "boundObjectRef": bound, **audience}},
        )
        self._tokens[key] = (answer["status"]["token"], time.monotonic() + seconds * _TOKEN_RENEWAL)
        return str(answer["status"]["token"])

    def _lay_out(self, container: Object, contents: dict[str, Content]) -> Mounts:
        own = self._folder / container["name"]
        mounts = Mounts((_mount(own, wanted, contents) for wanted in container.get("volumeMounts", [])), self._keep)
        for wanted in container.get("volumeMounts", []):
            content = contents[wanted["name"]]
            if isinstance(content, dict):
                _write(own / "files" / wanted["name"], content, mounts)
        for mount in mounts.all:
            _link(mount)
        return mounts


def _mount(own: Path, wanted: Object, contents: dict[str, Content]) -> Mount:
    content = contents[wanted["name"]]
    base = own / "files" / wanted["name"] if isinstance(content, dict) else content
    real = base / wanted.get("subPath", "")
    name = re.sub(r"\W+", "-", wanted["mountPath"].strip("/")) or "root"
    return Mount(wanted["mountPath"], own / "mounts" / name, real, wanted.get("readOnly", False))


def _link(mount: Mount) -> None:
    if not mount.real.exists():
        mount.real.mkdir(parents=True)  # a subPath is made, as on a kubelet
    mount.place.parent.mkdir(parents=True, exist_ok=True)
    if not mount.place.is_symlink():
        mount.place.symlink_to(mount.real)


def _write(folder: Path, files: dict[str, File], mounts: Mounts) -> None:
    """Make a folder hold exactly these files; each is replaced in one step, and only when it changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, file in files.items():
        wanted = _translated(file, mounts)
        target = folder / path
        if target.exists() and target.read_bytes() == wanted:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        draft.write_bytes(wanted)
        draft.chmod(file.mode)
        draft.replace(target)
    for found in sorted(folder.rglob("*")):
        if found.is_file() and str(found.relative_to(folder)) not in files:
            found.unlink()


def _translated(file: File, mounts: Mounts) -> bytes:
    # A text with mounts of its own is a template for other containers: its paths are not this one's.
    if not file.text or b"mountPath" in file.content:
        return file.content
    return mounts.to_places(file.content.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _host_path(source: Object) -> Path:
    path, kind = Path(source["path"]), source.get("type", "")
    if path.exists():
        return path
    if kind in ("", "DirectoryOrCreate"):
        return _made(path)
    raise VolumeError(f"hostPath {path} (type {kind}) does not exist")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _quoted(value: str) -> str:
    """Quote as the downward API does: Go's %q."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
