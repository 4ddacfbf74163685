"""The manifests of other inference servers: a cluster takes them, and only those who must reach the adapter do."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from relay_adapter.profile import names, read_profile
from relay_adapter.settings import Settings
from tests.support.network import Pod, may_reach

MANIFESTS = REPOSITORY / "manifests"
FILES = sorted((MANIFESTS / "residents").glob("*.yaml"))
SYSTEM = {"kubernetes.io/metadata.name": "gpu-relay"}
Object = dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def template(file: Path) -> Object:
    deployment = next(each for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "Deployment")
    template: Object = deployment["spec"]["template"]
    return template


def test_the_api_server_takes_it(cluster: Cluster, file: Path) -> None:
    printed = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(file))
    assert len(printed.splitlines()) == len(list(yaml.safe_load_all(file.read_text())))


def test_the_namespace_admits_its_pod(api: httpx.Client, template: Object) -> None:
    """A Deployment is taken whatever its pods are; the pods are held to the namespace's security standard."""
    account = template["spec"]["serviceAccountName"]
    accounts = "/api/v1/namespaces/gpu-relay/serviceaccounts"
    api.post(accounts, json={"metadata": {"name": account}})
    try:
        pod = {"metadata": {**template["metadata"], "name": "resident"}, "spec": template["spec"]}
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        answer = api.post("/api/v1/namespaces/gpu-relay/pods", json=pod, params=query)
        assert answer.is_success, answer.text
    finally:
        api.delete(f"{accounts}/{account}")


def test_the_adapters_settings_are_valid(template: Object, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = next(each for each in template["spec"]["containers"] if each["name"] == "adapter")
    variables = {each["name"]: each["value"] for each in adapter["env"]}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert {f"RELAY_ADAPTER_{name.upper()}" for name in settings.model_fields_set} == {
        name for name in variables if name.startswith("RELAY_ADAPTER_")
    }
    assert settings.profile in names()
    assert read_profile(settings.profile, settings.model)
    ports = {each["name"]: each["containerPort"] for each in adapter["ports"]}
    assert ports == {"control": settings.http_port, "clients": settings.proxy_port}


def test_only_the_operators_orders_and_clients_requests_arrive(cluster: Cluster, file: Path, template: Object) -> None:
    own = [each for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "NetworkPolicy"]
    base = [each for each in kustomized(cluster, MANIFESTS / "base") if each["kind"] == "NetworkPolicy"]
    resident = Pod("gpu-relay", template["metadata"]["labels"], SYSTEM)
    operator = Pod("gpu-relay", {"app.kubernetes.io/name": "gpu-relay"}, SYSTEM)
    trainer_labels = {"app.kubernetes.io/name": "yolo-trainer", "app.kubernetes.io/managed-by": "gpu-relay"}
    trainer = Pod("team", trainer_labels, {"kubernetes.io/metadata.name": "team"})
    application = Pod("app", {}, {f"gpurelay.dev/{file.stem}-client": "true"})
    stranger = Pod("team", {}, {"kubernetes.io/metadata.name": "team"})

    def reaches(source: Pod) -> list[int]:
        return [port for port in (8000, 8001, 8080) if may_reach([*own, *base], source, resident, port)]

    assert [reaches(each) for each in (operator, trainer, application, stranger)] == [[8000], [8000], [8001], []]
