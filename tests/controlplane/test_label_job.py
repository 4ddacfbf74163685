"""The sample Job that labels images: a restricted namespace admits it and its pods, and its label file is valid."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from tests.support.tenant import Tenant
from yolo_trainer.labelling.request import load_request

REQUEST, JOB = yaml.safe_load_all((REPOSITORY / "manifests" / "samples" / "label-photos.yaml").read_text())
TEAM = "labelling-team"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="module")
def team(cluster: Cluster, api: httpx.Client) -> Iterator[Tenant]:
    namespace = {"metadata": {"name": TEAM, "labels": RESTRICTED}}
    api.post("/api/v1/namespaces", json=namespace).raise_for_status()
    yield Tenant(api, TEAM)
    api.delete(f"/api/v1/namespaces/{TEAM}")


def test_the_api_server_admits_the_job_and_its_pod(team: Tenant) -> None:
    metadata = {**JOB["metadata"], "namespace": TEAM}
    job = team.call("POST", f"/apis/batch/v1/namespaces/{TEAM}/jobs", {**JOB, "metadata": metadata})
    assert job.is_success, job.text
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": JOB["spec"]["template"]["spec"]}
    answer = team.call("POST", f"/api/v1/namespaces/{TEAM}/pods", pod)
    assert answer.is_success, answer.text


def test_the_label_file_is_valid(tmp_path: Path) -> None:
    (name, text), *_ = REQUEST["data"].items()
    (tmp_path / name).write_text(text)
    assert load_request(tmp_path / name).classes == ("scratch", "dent")
    (container,) = JOB["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"] == ["label", f"{mounts['request']}/{name}"]
