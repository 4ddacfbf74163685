"""Kueue beside a control plane: its own manifests, and its controller as a process of this machine.

What a node would do for the controller's pod is done here: its Secret is written where it looks for it, its service
account's token is in its kubeconfig, and the webhooks' Service is an external name for this machine.
"""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from devcluster import accounts, binaries, pki
from devcluster.controlplane import LOOPBACK, api_client
from devcluster.crds import wait_established
from devcluster.kubectl import Kubectl
from devcluster.processes import Processes

PROGRAM = "kueue"
_NAMESPACE = "kueue-system"
_ACCOUNT = "kueue-controller-manager"
_WEBHOOKS = "kueue-webhook-service"
_SECRET = "kueue-webhook-server-cert"
_CONFIG = "kueue-manager-config"
_MANIFESTS = "default.yaml"
_OUR_KIND = "YoloTrainingJob.v1alpha1.gpurelay.dev"
#: What a cluster of pods needs and a process does not.
_LEFT_OUT = frozenset({"Deployment", "APIService", "Service"})
_START_SECONDS = 120.0

Object = dict[str, Any]


def ensure() -> Path:
    """Return the path of Kueue's controller, building it and rendering its manifests where no folder holds them yet.

    Raises ClusterError when that fails.
    """
    program = binaries.ensure([PROGRAM])[PROGRAM]
    manifests = program.parent / _MANIFESTS
    if not manifests.exists():
        source = binaries.upstream_folder(binaries.KUEUE) / "config" / "default"
        scratch = manifests.with_suffix(".new")
        scratch.write_text(Kubectl(Path("/dev/null"))("kustomize", str(source)))
        scratch.replace(manifests)
    return program


class Kueue:
    """Kueue's controller manager of one run."""

    def __init__(self, run_dir: Path, processes: Processes, program: Path) -> None:
        self._dir = run_dir
        self._processes = processes
        self._program = program
        self._certificates = run_dir / "kueue-certificates"
        self._kubectl = Kubectl(run_dir / "kubeconfig")

    def start(self) -> None:
        """Apply Kueue's manifests, start it, and return when it answers for its own kinds.

        Raises ClusterError, with the end of the log, when it does not come up.
        """
        webhooks, health = _free_ports(2)
        documents = list(yaml.safe_load_all((self._program.parent / _MANIFESTS).read_text()))
        wanted = [reachable(each, webhooks) for each in documents if each["kind"] not in _LEFT_OUT]
        # Namespaces come before their objects; kubectl keeps the order of a list.
        wanted.sort(key=lambda each: each["kind"] != "Namespace")
        self._apply(*wanted, _external_service())
        wait_established(self._kubectl, "-l", "app.kubernetes.io/name=kueue")
        given = next(each for each in documents if each["kind"] == "ConfigMap" and each["metadata"]["name"] == _CONFIG)
        (self._dir / "kueue.yaml").write_text(yaml.safe_dump(self._configuration(given, webhooks, health)))
        with api_client(self._dir) as client:
            kubeconfig = accounts.write_kubeconfig(client, self._dir, _NAMESPACE, _ACCOUNT)
            self._processes.start(PROGRAM, [self._program, "--config=kueue.yaml", f"--kubeconfig={kubeconfig}"])
            self._wait("Kueue's certificate", lambda: self._mount_certificates(client))
            self._wait("Kueue", lambda: _ready(health))
            self._wait("Kueue's conversion webhook", lambda: _converts(client))

    def _wait(self, what: str, ready: Any) -> None:
        self._processes.wait_for(what, ready, _START_SECONDS, (PROGRAM,))

    def _apply(self, *objects: Object) -> None:
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def _configuration(self, given: Object, webhooks: int, health: int) -> Object:
        """Return the configuration of its manifests, changed where a process on loopback needs it."""
        configuration: Object = yaml.safe_load(given["data"]["controller_manager_config.yaml"])
        return configuration | {
            "namespace": _NAMESPACE,
            "health": {"healthProbeBindAddress": f"{LOOPBACK}:{health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": LOOPBACK, "port": webhooks, "certDir": str(self._certificates)},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {
                "enable": True, "webhookServiceName": _WEBHOOKS, "webhookSecretName": _SECRET,
            },
            # As generous as the limits of the other controllers here.
            "clientConnection": {"qps": 500, "burst": 1000},
            # What serves `kubectl get --raw …/pendingworkloads`: it is an API server of its own, on a fixed port.
            "featureGates": {"VisibilityOnDemand": False},
            "integrations": {
                "frameworks": ["batch/job", "pod"],
                "externalFrameworks": [_OUR_KIND],
            },
            "multiKueue": {
                "externalFrameworks": [{"name": _OUR_KIND}],
                # By default a minute: until it looks for what was deleted while a worker cluster was lost.
                "gcInterval": "5s",
            },
        }  # fmt: skip

    def _mount_certificates(self, client: httpx.Client) -> bool:
        """Write the Secret's files, as the kubelet does, once Kueue has made its certificates."""
        answer = client.get(f"/api/v1/namespaces/{_NAMESPACE}/secrets/{_SECRET}")
        data = answer.json().get("data") if answer.is_success else None
        if not data:
            return False
        self._certificates.mkdir(exist_ok=True)
        for name, content in data.items():
            pki.write_private(self._certificates / name, base64.b64decode(content))
        return True


def reachable(document: Object, port: int) -> Object:
    """Return an object of the manifests whose webhooks, if it has any, are called at this port."""
    for config in _client_configs(document):
        config["service"]["port"] = port
    return document


def _client_configs(document: Object) -> Iterator[Object]:
    for webhook in document.get("webhooks", ()):
        yield webhook["clientConfig"]
    if document["kind"] == "CustomResourceDefinition":
        conversion = document["spec"].get("conversion", {})
        yield from (part["clientConfig"] for key, part in conversion.items() if key == "webhook")


def _external_service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _WEBHOOKS, "namespace": _NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _converts(client: httpx.Client) -> bool:
    """Say whether the API server can have objects validated and converted: a dry run of a real one."""
    body = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "ResourceFlavor",
        "metadata": {"name": "dry-run"},
    }
    made = client.post("/apis/kueue.x-k8s.io/v1beta2/resourceflavors", params={"dryRun": "All"}, json=body)
    return made.is_success and client.get("/apis/kueue.x-k8s.io/v1beta2/workloads").is_success
