"""How a container's program is started: command, environment, files."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.paths import REPOSITORY
from devcluster.process_node import images
from devcluster.process_node.environment import Facts, Sources, command_line, environment
from devcluster.process_node.mounts import Mount, Mounts
from devcluster.process_node.settings import MARK, NodeSettings
from devcluster.processes import MARK as RUN_MARK

Object = dict[str, Any]
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_TERMINATION_LOG = "/dev/termination-log"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Launch:
    """Everything needed to start one container once."""

    command: list[str]
    env: dict[str, str]
    folder: Path
    log: Path
    termination_file: Path
    mounts: Mounts


@dataclass(frozen=True)
class Place:
    """Where a pod lives, and which API server it may ask."""

    settings: NodeSettings
    facts: Facts
    server: str
    authority: bytes

    def folder(self, pod: Object) -> Path:
        """Return the pod's folder: short, because paths of sockets below it must not pass 107 bytes."""
        return self.settings.pods / str(pod["metadata"]["uid"])[:8]

    def log(self, pod: Object, container: str, restart: int) -> Path:
        """Return the file of one run's output, laid out as on a kubelet's node."""
        metadata = pod["metadata"]
        name = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        return self.settings.logs / name / container / f"{restart}.log"

    @property
    def keep(self) -> tuple[Path, ...]:
        """Paths that are the node's own, and never a container's mount path."""
        ledger = (self.settings.ledger,) if self.settings.ledger else ()
        return (self.settings.run_dir, REPOSITORY, *ledger)

    def launch(self, pod: Object, container: Object, mounts: Mounts, sources: Sources, restart: int) -> Launch:
        """Make ready to start a container.

        Raises ConfigError when its specification cannot be resolved.
        """
        own = self.folder(pod) / container["name"]
        own.mkdir(parents=True, exist_ok=True)
        last_word = own / "termination-log"
        last_word.unlink(missing_ok=True)
        path = container.get("terminationMessagePath", _TERMINATION_LOG)
        mounts = Mounts([*mounts.all, Mount(path, last_word, last_word)], self.keep)
        image = images.find(container.get("image", ""))
        defaults = self._defaults(pod, container, image, mounts, own)
        env = environment(container, pod, self.facts, sources, defaults, mounts)
        folder = Path(mounts.to_places(container["workingDir"])) if container.get("workingDir") else own
        log = self.log(pod, container["name"], restart)
        return Launch(command_line(container, image, env, mounts), env, folder, log, last_word, mounts)

    def _defaults(
        self, pod: Object, container: Object, image: images.Image, mounts: Mounts, own: Path
    ) -> dict[str, str]:
        env = {
            "PATH": images.search_path(os.environ.get("PATH", _SYSTEM_PATH)),
            "HOME": str(own),
            "HOSTNAME": pod["metadata"]["name"],
            "LANG": "C.UTF-8",
            "BIND_ADDRESS": self.facts.pod_ip,
            "TERMINATION_MESSAGE_PATH": str(own / "termination-log"),
            MARK: str(self.settings.run_dir),
            **{name: mounts.to_places(value) for name, value in image.env.items()},
        }
        if run := os.environ.get(RUN_MARK):
            env[RUN_MARK] = run
        if self.settings.ledger and (image.gpu or wants_gpu(container)):
            env |= {
                "GPU_RELAY_SIMULATED_GPU": str(self.settings.ledger),
                "LD_LIBRARY_PATH": str(self.settings.ledger / "lib"),
            }
        if account := next((mount for mount in mounts.all if mount.path == _ACCOUNT), None):
            file = own / "kubeconfig"
            file.write_text(kubeconfig(self.server, self.authority, account.place, pod["metadata"]["namespace"]))
            env["KUBECONFIG"] = str(file)
        return env


def wants_gpu(container: Object) -> bool:
    """Say whether a container asks the scheduler for a GPU."""
    limits: Mapping[str, Any] = container.get("resources", {}).get("limits", {})
    return str(limits.get("nvidia.com/gpu", "0")) != "0"


def kubeconfig(server: str, authority: bytes, account: Path, namespace: str) -> str:
    """Return a kubeconfig (JSON, which is YAML) for a service account with its token in `account`."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": str(account / "token")}}],
            "contexts": [{"name": "pod", "context": {"cluster": "local", "user": "pod", "namespace": namespace}}],
            "current-context": "pod",
        }
    )


def pod_address(uid: str) -> str:
    """Return a pod's address, always the same: a loopback address that no other pod here is likely to have."""
    digest = hashlib.sha256(uid.encode()).digest()
    return f"127.{64 + digest[0] % 64}.{digest[1]}.{1 + digest[2] % 254}"
