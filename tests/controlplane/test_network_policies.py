"""The NetworkPolicies with another port, and with residents outside the cluster, as docs/security.md extends them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from devcluster.scripted.manifests import Object
from tests.support.network import Pod, machine, may_reach

SYSTEM = {"kubernetes.io/metadata.name": "gpu-relay", "app.kubernetes.io/part-of": "gpu-relay"}
OPERATOR = Pod("gpu-relay", {"app.kubernetes.io/name": "gpu-relay"}, SYSTEM)
SAM3 = Pod("gpu-relay", {"app.kubernetes.io/name": "sam3", "gpurelay.dev/resident": "sam3"}, SYSTEM)
TRAINER = Pod(
    "team",
    {"app.kubernetes.io/name": "yolo-trainer", "app.kubernetes.io/managed-by": "gpu-relay", "gpurelay.dev/job": "d"},
    {"kubernetes.io/metadata.name": "team"},
)
OUTSIDE, ELSEWHERE = machine("192.0.2.10"), machine("192.0.2.11")


def snippets(heading: str) -> list[str]:
    """Return the YAML under a heading of docs/security.md."""
    text = (REPOSITORY / "docs" / "security.md").read_text()
    section = text.split(f"### {heading}\n")[1].split("\n#")[0]
    return re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)


def policies(cluster: Cluster, *kustomizations: Path) -> list[Object]:
    objects = [each for folder in kustomizations for each in kustomized(cluster, folder)]
    return [each for each in objects if each["kind"] == "NetworkPolicy"]


@pytest.fixture
def shipped(cluster: Cluster) -> list[Object]:
    return policies(cluster, REPOSITORY / "manifests" / "base", REPOSITORY / "manifests" / "team")


def test_another_port(cluster: Cluster, shipped: list[Object], tmp_path: Path) -> None:
    for folder in ("manifests", "crds"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    overlays = [tmp_path / "manifests" / "overlays" / name for name in ("mine", "my-team")]
    for overlay, resource, patch in zip(
        overlays, ("base", "team"), snippets("Another port for residents"), strict=True
    ):
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(f"resources: [../../{resource}]\n{patch}")
    changed = policies(cluster, *overlays)
    assert len(changed) == len(shipped)
    for source in (OPERATOR, TRAINER):
        assert [may_reach(shipped, source, SAM3, port) for port in (8000, 9000)] == [True, False]
        assert [may_reach(changed, source, SAM3, port) for port in (8000, 9000)] == [False, True]
    assert may_reach(changed, OPERATOR, TRAINER, 8080)


def test_residents_outside_the_cluster(cluster: Cluster, shipped: list[Object]) -> None:
    [text] = snippets("Residents outside the cluster")
    operators = yaml.safe_load(text)
    trainers = yaml.safe_load(
        text.replace("app.kubernetes.io/name: gpu-relay", "app.kubernetes.io/name: yolo-trainer").replace(
            "namespace: gpu-relay", "namespace: team"
        )
    )
    cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
    both = [*shipped, operators, trainers]
    for source in (OPERATOR, TRAINER):
        assert not may_reach(shipped, source, OUTSIDE, 8000)
        assert may_reach(both, source, OUTSIDE, 8000)
        assert not may_reach(both, source, OUTSIDE, 22)
        assert not may_reach(both, source, ELSEWHERE, 8000)
        assert may_reach(both, source, SAM3, 8000)
