"""The CRD in crds/ matches the types, and `kubectl explain` describes each field."""

import json
from typing import Any

import httpx
import pytest
import yaml

from devcluster import Cluster, ClusterError
from devcluster.paths import REPOSITORY
from devcluster.scripted.manifests import job_manifest
from devcluster.scripted.world import World
from gpu_relay.api.crd import crd
from tests.support import specs


def test_the_committed_crd_is_the_generated_one() -> None:
    committed = yaml.safe_load((REPOSITORY / "crds" / "yolotrainingjobs.gpurelay.dev.yaml").read_text())
    assert committed == crd(), "run `make crds`"


def test_explain_speaks_of_every_field(cluster: Cluster) -> None:
    text = cluster.kubectl("explain", "yolotrainingjobs.spec.gpu")
    assert "measured free" in text
    assert "<no description>" not in cluster.kubectl("explain", "yolotrainingjobs.status")


def test_defaults_are_filled_in_and_an_untouched_job_is_in_progress(world: World) -> None:
    job = world.apply_job("digits")
    assert job["spec"]["training"]["epochs"] == 100
    assert job["spec"]["backoffLimit"] == 3
    assert job["status"] == {"observedGeneration": -1}


def test_a_batch_is_a_number_or_auto(world: World, api: httpx.Client) -> None:
    assert world.apply_job("digits", training={"batch": "auto"})["spec"]["training"]["batch"] == "auto"
    path = f"/apis/gpurelay.dev/v1alpha1/namespaces/{world.namespace}/yolotrainingjobs"
    for batch in ("all", 0, 5000):
        answer = api.post(path, json=job_manifest("other", training={"batch": batch}))
        assert answer.status_code == 422
        assert "batch is a number from 1 to 4096, or auto" in answer.json()["message"]


CLAIM = {"claimName": "data"}
TRAINED = "a" * 64
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"gpu": {"memory": "10GB"}}, "spec.gpu.memory|'10GB' is not a quantity; write 10Gi"),
    ({"gpu": {"memory": "10240 mb"}}, "spec.gpu.memory|'10240 mb' is not a quantity; write 10240Mi"),
    ({"gpu": {"memory": "16"}}, "spec.gpu.memory|'16' is not a quantity; write 16Gi"),
    ({"gpu": {"memory": "10240"}}, "spec.gpu.memory|'10240' is not a quantity; write 10240Mi"),
    (
        {"gpu": {"memory": "10.5Gi"}},
        "spec.gpu.memory|'10.5Gi' is not a quantity; write fractions in Mi, for example 10752Mi for 10.5Gi",
    ),
    ({"gpu": {"memory": "lots"}}, "spec.gpu.memory|'lots' is not a quantity; write for example 10Gi or 10240Mi"),
    (
        {"gpu": {"memory": "10Gi", "startWhen": "ResidentIdle", "idleFor": "10 min"}},
        "spec.gpu.idleFor|'10 min' is not a duration; write 10m",
    ),
    ({"training": {"timeLimit": "1d"}}, "spec.training.timeLimit|'1d' is not a duration; write 24h"),
    ({"training": {"timeLimit": "2 Hours"}}, "spec.training.timeLimit|'2 Hours' is not a duration; write 2h"),
    ({"training": {"timeLimit": "45sec"}}, "spec.training.timeLimit|'45sec' is not a duration; write 45s"),
    ({"training": {"timeLimit": "1h 30m"}}, "spec.training.timeLimit|'1h 30m' is not a duration; write 1h30m"),
    (
        {"training": {"timeLimit": "3600"}},
        "spec.training.timeLimit|'3600' is not a duration; write its unit: 3600s, 3600m or 3600h",
    ),
    (
        {"training": {"timeLimit": "1.5h"}},
        "spec.training.timeLimit|'1.5h' is not a duration; write fractions in the next smaller unit, for example "
        "1h30m for 1.5h",
    ),
    (
        {"training": {"timeLimit": "soon"}},
        "spec.training.timeLimit|'soon' is not a duration; write it in h, m, s or ms, for example 90s or 1h30m",
    ),
    *(
        ({"dataset": {"uri": wrong}}, f"spec.dataset.uri|'{wrong}' cannot be fetched; write s3://data/x.zip")
        for wrong in ("s3:/data/x.zip", "s3//data/x.zip", "s3:data/x.zip", "S3://data/x.zip")
    ),
    (
        {"dataset": {"uri": "s3://data"}},
        "spec.dataset.uri|'s3://data' cannot be fetched; add the path of an archive, or of a folder that ends in /",
    ),
    (
        {"dataset": {"uri": "/mnt/digits"}},
        "spec.dataset.uri|'/mnt/digits' cannot be fetched; for data on a volume, set "
        "dataset.persistentVolumeClaim and dataset.path",
    ),
    (
        {"dataset": {"uri": "ftp://host/x.zip"}},
        "spec.dataset.uri|'ftp://host/x.zip' cannot be fetched; write for example s3://bucket/digits.zip or "
        "https://host/digits.zip",
    ),
    (
        {"dataset": {"uri": "s3://data/x.zip", "sha256": f"sha256:{TRAINED.upper()}"}},
        f"spec.dataset.sha256|'sha256:{TRAINED.upper()}' is not a SHA-256 checksum; write {TRAINED}",
    ),
    (
        {"dataset": {"uri": "s3://data/x.zip", "sha256": "abc"}},
        (
            "spec.dataset.sha256|'abc' is not a SHA-256 checksum; write the 64 hexadecimal digits that `sha256sum` "
            "prints for the archive"
        ),
    ),
    (
        {("output"): {("uri"): ("s3:/results")}},
        "spec.output.uri|'s3:/results' is not a folder for results; write s3://results",
    ),
    (
        {"output": {"uri": "https://host/results"}},
        "spec.output.uri|'https://host/results' is not a folder for results; write for example s3://bucket/folder or "
        "gs://bucket/folder",
    ),
    *(
        (
            {"tracking": {"mlflow": {"uri": wrong}}},
            f"spec.tracking.mlflow.uri|'{wrong}' is not the address of a tracking server; {advice}",
        )
        for wrong, advice in (
            ("HTTP:/mlflow:5000", "write http://mlflow:5000"),
            ("mlflow:5000", "write for example http://mlflow.example:5000"),
            ("http://me:key@mlflow", "give credentials in the Secret of tracking.secretName instead"),
        )
    ),
    (
        {"podTemplate": {"image": "https://registry.example/yolo:1"}},
        (
            "spec.podTemplate.image|'https://registry.example/yolo:1' is not an image reference; write "
            "registry.example/yolo:1"
        ),
    ),
    (
        {"podTemplate": {"image": "my image"}},
        (
            "spec.podTemplate.image|'my image' is not an image reference; write for example "
            "registry.example/team/yolo:1.2, without spaces"
        ),
    ),
    (
        {"podTemplate": {"env": [{"name": "MY VAR", "value": "1"}]}},
        "spec.podTemplate.env[0].name|'MY VAR' is not the name of a variable; write MY_VAR",
    ),
    (
        {"podTemplate": {"resources": {"limits": {"memory": "8GB"}}}},
        "spec.podTemplate.resources.limits[memory]|this is not a quantity; write for example 2, 500m or 8Gi: units "
        "have no B, and no space before them",
    ),
]


def refused(cluster: Cluster, spec: dict[str, Any]) -> str:
    """Return what kubectl prints of a job that is refused."""
    with pytest.raises(ClusterError) as refusal:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(job_manifest("digits", **spec)))
    return str(refusal.value)


@pytest.mark.parametrize(("spec", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_answered_with_the_right_spelling(cluster: Cluster, spec: dict[str, Any], said: str) -> None:
    field, sentence = said.split("|")
    refusal = refused(cluster, spec)
    assert f": {field}: Invalid value: " in refusal
    assert refusal.endswith(f": {sentence}")


def test_an_offline_run_needs_a_volume(cluster: Cluster) -> None:
    spec = {"tracking": {"wandb": {"project": "digits", "offline": True}}, "output": {"uri": "s3://results/digits"}}
    assert "tracking.wandb.offline needs output.persistentVolumeClaim" in refused(cluster, spec)


def test_tracking_may_be_changed_and_is_explained(world: World, cluster: Cluster) -> None:
    assert "tracking" not in world.apply_job("digits")["spec"], "no defaults"
    for tracking in ({"tensorBoard": True}, {"mlflow": {"uri": "http://mlflow:5000"}, "secretName": "mlflow"}):
        world.patch_job("digits", tracking=tracking)
    text = cluster.kubectl("explain", "yolotrainingjobs.spec.tracking", "--recursive")
    assert "experiment" in text
    assert "MLFLOW_TRACKING_TOKEN" in cluster.kubectl("explain", "yolotrainingjobs.spec.tracking")


def test_all_wrong_values_are_answered_at_once(cluster: Cluster) -> None:
    refusal = refused(cluster, {"gpu": {"memory": "10GB"}, "training": {"timeLimit": "1d"}})
    assert "write 10Gi" in refusal
    assert "write 24h" in refusal


def test_no_regular_expression_is_shown_where_a_rule_can_speak() -> None:
    shown = {path for path, schema in specs.leaves() if "pattern" in schema}
    assert shown == {"podTemplate.env[].valueFrom.resourceFieldRef.divisor"}
