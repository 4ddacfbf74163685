"""etcd, API server, controller manager and scheduler of one run.

certificates, kubeconfigs ──► etcd ──► kube-apiserver ──ready──► controller manager, scheduler ──► default account
"""

import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from devcluster import audit, pki
from devcluster.errors import ClusterError
from devcluster.processes import Processes

LOOPBACK = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
PROCESSES = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")

_API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_START_SECONDS = 90.0
_ATTEMPTS = 3
_PORT_TAKEN = "address already in use"
# Generous client limits: with the defaults the controllers, not the code under test, would set the pace.
_CLIENT_LIMITS = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True)
class Addresses:
    """Where the control plane listens; etcd always on loopback."""

    host: str
    api: int
    etcd: int
    etcd_peer: int

    @classmethod
    def free(cls, host: str) -> "Addresses":
        """Pick ports that are free at this moment."""
        # All three are held open until all are known, so that no port is picked twice.
        with socket.socket() as api, socket.socket() as etcd, socket.socket() as peer:
            for listener, address in ((api, host), (etcd, LOOPBACK), (peer, LOOPBACK)):
                listener.bind((address, 0))
            return cls(host, api.getsockname()[1], etcd.getsockname()[1], peer.getsockname()[1])

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.host}:{self.api}"


class ControlPlane:
    """The control plane of one run, listening on one address."""

    def __init__(self, run_dir: Path, processes: Processes, binaries: Mapping[str, Path], host: str = LOOPBACK) -> None:
        self._dir = run_dir
        self._processes = processes
        self._binaries = binaries
        self._host = host

    def start(self, node_name: str) -> None:
        """Start everything and return when pods can be created; also write the node's kubeconfigs.

        Raises ClusterError, with the end of the log, when a part does not come up.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            addresses = Addresses.free(self._host)
            self._write_credentials(addresses, node_name)
            try:
                self._start_servers(addresses)
                break
            except ClusterError as error:
                # Another process may have taken a port between the look and the start.
                if attempt == _ATTEMPTS or _PORT_TAKEN not in str(error):
                    raise
                self._processes.end(("kube-apiserver", "etcd"))
        with api_client(self._dir) as client:
            self._start_controllers(client)

    def _write_credentials(self, addresses: Addresses, node_name: str) -> None:
        authority = pki.Authority()
        (self._dir / "ca.crt").write_bytes(authority.certificate)
        hosts = dict.fromkeys((*_API_NAMES, LOOPBACK, API_SERVICE_ADDRESS, addresses.host))
        authority.issue("kube-apiserver", hosts=tuple(hosts)).write(self._dir, "apiserver")
        pki.write_private(self._dir / "service-accounts.key", authority.issue("service-accounts").key)
        (self._dir / audit.POLICY_FILE).write_text(audit.policy())
        issued = {
            "kubeconfig": authority.issue("admin", "system:masters"),
            "controller-manager.kubeconfig": authority.issue("system:kube-controller-manager"),
            "scheduler.kubeconfig": authority.issue("system:kube-scheduler"),
            "proxy.kubeconfig": authority.issue("system:kube-proxy"),
            "node.kubeconfig": authority.issue(f"system:node:{node_name}", "system:nodes"),
        }
        for file, pair in issued.items():
            pki.write_private(self._dir / file, pki.kubeconfig(addresses.server, authority.certificate, pair))
            if file == "kubeconfig":
                pair.write(self._dir, "admin")

    def _start_servers(self, addresses: Addresses) -> None:
        self._processes.start("etcd", [self._binaries["etcd"], *etcd_flags(addresses)])
        self._processes.start("kube-apiserver", [self._binaries["kube-apiserver"], *apiserver_flags(addresses)])
        with api_client(self._dir) as client:
            self._processes.wait_for(
                "the API server", lambda: _answers(client, "/readyz"), _START_SECONDS, ("etcd", "kube-apiserver")
            )

    def _start_controllers(self, client: httpx.Client) -> None:
        for name, flags in (
            ("kube-controller-manager", controller_manager_flags()),
            ("kube-scheduler", scheduler_flags()),
        ):
            self._processes.start(name, [self._binaries[name], *flags])
        self._processes.wait_for(
            "the default service account",
            lambda: _answers(client, "/api/v1/namespaces/default/serviceaccounts/default"),
            _START_SECONDS,
            PROCESSES,
        )


def etcd_flags(addresses: Addresses) -> list[str]:
    """Return etcd's flags: one member, whose data need not survive a power cut."""
    client, peer = f"http://{LOOPBACK}:{addresses.etcd}", f"http://{LOOPBACK}:{addresses.etcd_peer}"
    return [
        "--data-dir=etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def apiserver_flags(addresses: Addresses) -> list[str]:
    """Return the API server's flags; on loopback, which no pod can reach, `kubernetes.default` has no endpoint."""
    flags = [
        f"--etcd-servers=http://{LOOPBACK}:{addresses.etcd}",
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        f"--secure-port={addresses.api}",
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        "--service-account-key-file=service-accounts.key",
        "--service-account-signing-key-file=service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        # As on OpenShift: who makes an owner's deletion wait needs the right to update the owner's finalizers.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        f"--audit-policy-file={audit.POLICY_FILE}",
        f"--audit-log-path={audit.LOG}",
        "--allow-privileged",
        "--kubelet-client-certificate=admin.crt",
        "--kubelet-client-key=admin.key",
        "--kubelet-preferred-address-types=InternalIP",
    ]
    return [*flags, "--endpoint-reconciler-type=none"] if addresses.host == LOOPBACK else flags


def controller_manager_flags() -> list[str]:
    """Return the controller manager's flags."""
    return [
        "--kubeconfig=controller-manager.kubeconfig",
        "--service-account-private-key-file=service-accounts.key",
        "--root-ca-file=ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        *_CLIENT_LIMITS,
    ]


def scheduler_flags() -> list[str]:
    """Return the scheduler's flags."""
    return ["--kubeconfig=scheduler.kubeconfig", "--leader-elect=false", "--secure-port=0", *_CLIENT_LIMITS]


def api_client(run_dir: Path) -> httpx.Client:
    """Return an HTTP client to a run's API server, with an administrator's rights.

    It is no client of the Kubernetes API as `gpu_relay.clients.kube` is: the local Kubernetes and the tests send single
    requests with it, malformed ones too, and check the plain responses, independently of the product's client.
    """
    config = json.loads((run_dir / "kubeconfig").read_text())
    context = ssl.create_default_context(cafile=str(run_dir / "ca.crt"))
    context.load_cert_chain(run_dir / "admin.crt", run_dir / "admin.key")
    # trust_env off: a proxy for the internet has no way to this server.
    return httpx.Client(
        base_url=config["clusters"][0]["cluster"]["server"], verify=context, trust_env=False, timeout=10.0
    )


def node_ready(client: httpx.Client, name: str) -> bool:
    """Say whether the node's Ready condition holds."""
    answer = client.get(f"/api/v1/nodes/{name}")
    conditions = answer.json().get("status", {}).get("conditions", []) if answer.is_success else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
