"""Storage of a local cluster as a site has it: a default StorageClass whose volumes are bound on the GPU node."""

import json
from typing import Any

import yaml

from devcluster import Cluster
from devcluster.deploy import Volumes
from devcluster.paths import REPOSITORY

Object = dict[str, Any]
CLASS = "node-folders"
_LOCAL = REPOSITORY / "manifests" / "overlays" / "local"
_OF_THE_PROVISIONER = 0o755


def add_storage(cluster: Cluster, volumes: Volumes) -> None:
    """Create a default StorageClass with a volume for each PVC of manifests/samples, and those of the GPU's ledger.

    The folders are root's: pods can write because of their fsGroup.
    """
    sizes = {volumes.data: "50Gi", volumes.results: "50Gi", volumes.models: "10Gi"}
    objects = [_storage_class(), *_of_the_ledger(cluster, "PersistentVolume")]
    for folder, size in sizes.items():
        folder.chmod(_OF_THE_PROVISIONER)
        objects.append(_volume(cluster, folder.name, str(folder), size))
    _create(cluster, objects)


def bind_the_ledger(cluster: Cluster) -> None:
    """Create the PVCs of the simulated GPU in the namespaces of SAM3 and of the team."""
    _create(cluster, _of_the_ledger(cluster, "PersistentVolumeClaim"))


def _storage_class() -> Object:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS, "annotations": default},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    }  # fmt: skip


def _volume(cluster: Cluster, name: str, path: str, size: str) -> Object:
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [cluster.node_name]}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
        },
    }  # fmt: skip


def _of_the_ledger(cluster: Cluster, kind: str) -> list[Object]:
    """Return the objects of a kind that overlays/local has for the ledger, with the cluster's folder."""
    texts = [(_LOCAL / name).read_text() for name in ("volumes.yaml", "vision.yaml")]
    objects = [item for text in texts for item in yaml.safe_load_all(text)]
    found = [item for item in objects if item["kind"] == kind and item["metadata"]["name"].endswith("gpu-ledger")]
    for item in found:
        if "hostPath" in item["spec"]:
            item["spec"]["hostPath"]["path"] = str(cluster.ledger)
    return found


def _create(cluster: Cluster, objects: list[Object]) -> None:
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
