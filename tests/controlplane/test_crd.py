"""The CRD in crds/ is what the types say, and reads well with `kubectl explain`."""

import httpx
import yaml

from gpu_relay.api.crd import crd
from tests.cluster import Cluster
from tests.support.operator_process import REPOSITORY
from tests.support.world import World, job_manifest


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
