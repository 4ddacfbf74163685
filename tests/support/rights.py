"""A service account with the operator's rights in one namespace, from the rules of manifests/base."""

import json
from pathlib import Path

import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.world import World

_RULES = REPOSITORY / "manifests" / "base" / "operator" / "rbac.yaml"
_CLUSTER_WIDE = {"nodes"}


def kubeconfig_of_one_namespace(
    cluster: Cluster, world: World, folder: Path, *, without: tuple[str, str] = ("", "")
) -> Path:
    """Create account, Roles and bindings, and return a kubeconfig of that account.

    `without` names a resource and the verb on it that an older role lacks.
    """
    name, namespace = f"gpu-relay-{world.namespace}"[:50].strip("-"), world.namespace
    documents = list(yaml.safe_load_all(_RULES.read_text()))
    rules = {document["kind"]: document["rules"] for document in documents if "rules" in document}
    namespaced = [rule for rule in rules["ClusterRole"] if not _CLUSTER_WIDE & set(rule["resources"])]
    resource, verb = without
    for rule in namespaced:
        rule["verbs"] = [each for each in rule["verbs"] if resource not in rule["resources"] or each != verb]
    account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        *_granted(name, namespace, namespaced, account),
        *_granted(name, "gpu-relay", rules["Role"], account),
    ]
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    token = cluster.kubectl("-n", namespace, "create", "token", name)
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token.strip()}}]
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def _granted(name: str, namespace: str, rules: list[object], account: dict[str, str]) -> list[dict[str, object]]:
    metadata = {"name": name, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [account],
        },
    ]
