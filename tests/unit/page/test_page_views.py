"""What the page makes of jobs, Leases and residents: small JSON, and nothing that is not to be seen."""

import json
from typing import Any

from relay_page import gpus, jobs
from relay_page.feed import DeltaEncoder, event

Object = dict[str, Any]
UUID = "GPU-5F0C"
GPU = {"uuid": UUID, "node": "node-1", "name": "Tesla T4", "total": 15360, "resident": "gpu-relay/sam3"}


def job(name: str = "digits", *, phase: str | None = "Training", **status: Any) -> Object:
    meta = {
        "uid": f"uid-{name}", "name": name, "namespace": "vision", "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {"metadata": meta, "spec": {"gpu": {"memory": "10Gi"}}, "status": {"phase": phase, **status}}


def lease(holder: str = "resident", **annotations: str) -> Object:
    known = {"gpurelay.dev/node": "node-1", "gpurelay.dev/renew-key": "secret", **annotations}
    spec = {"holderIdentity": holder, "acquireTime": "2026-01-01T01:00:00Z", "leaseTransitions": 5}
    return {"metadata": {"name": UUID.lower(), "annotations": known}, "spec": spec}


def pod(name: str = "sam3", node: str = "node-1", **meta: str) -> Object:
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"namespace": "gpu-relay", "name": name, **meta},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [ready]},
    }


def seen(jobs_: list[Object], leases: list[Object], pods: list[Object]) -> list[Object]:
    return gpus.gpus(map(jobs.summary, jobs_), map(gpus.lease, leases), map(gpus.resident, pods))


# jobs


def test_a_job_that_nobody_has_looked_at_yet() -> None:
    bare = job()
    del bare["status"]
    assert jobs.summary(bare)["phase"] == "New"
    assert jobs.details(bare)["curve"] == []


def test_the_gravest_condition_says_why() -> None:
    conditions = [
        {"type": "Reconciling", "status": "True", "reason": "Queued", "message": "waits"},
        {"type": "Complete", "status": "False", "reason": "No", "message": "no"},
        {"type": "Stalled", "status": "True", "reason": "OutOfMemory", "message": "x" * 1000},
    ]
    told = jobs.summary(job(conditions=conditions))
    assert (told["reason"], told["message"]) == ("OutOfMemory", "x" * 300)
    assert jobs.details(job(conditions=conditions))["why"] == "x" * 1000


def test_results_count_more_than_the_latest_validation() -> None:
    progress = {"epoch": 3, "epochs": 3, "metrics": {"mAP50": 0.8, "mAP50_95": 0.5}}
    assert jobs.headline({"progress": progress}) == ["mAP50_95", 0.5]
    assert jobs.headline({"progress": progress, "results": {"metrics": {"top1": 0.9}}}) == ["top1", 0.9]
    assert jobs.headline({}) is None


def test_the_feed_has_the_newest_attempts_and_the_details_have_all() -> None:
    attempts = [{"number": n, "reason": "Interrupted", "message": "m", "completionTime": "t"} for n in range(1, 31)]
    told = jobs.summary(job(attempts=attempts))["attempts"]
    assert [each["number"] for each in told] == list(range(19, 31))
    assert "message" not in told[0]
    assert len(jobs.details(job(attempts=attempts))["attempts"]) == 30


def test_500_jobs_make_a_feed_of_half_a_megabyte() -> None:
    attempts = [{"number": 1, "reason": "Completed", "startTime": "t" * 20, "completionTime": "t" * 20}]
    conditions = [{"type": "Complete", "status": "True", "reason": "Completed", "message": "x" * 200}]
    many = [jobs.summary(job(f"job-{n}", gpu=GPU, attempts=attempts, conditions=conditions)) for n in range(500)]
    assert len(event("jobs", {"put": many, "gone": []})) < 600_000


# GPUs


def test_the_lease_says_who_owns_a_gpu_and_jobs_what_it_is() -> None:
    held = lease("yolotrainingjob/other-team/secret-plan/uid")
    (gpu,) = seen([job(phase="Succeeded", gpu=GPU)], [held], [pod()])
    assert (gpu["owner"], gpu["job"]) == ("job", {"namespace": "other-team", "name": "secret-plan"})
    assert (gpu["name"], gpu["node"], gpu["fence"], gpu["pod"]["ready"]) == ("Tesla T4", "node-1", 5, True)


def test_without_leases_jobs_say_who_owns_a_gpu() -> None:
    turn = {"since": "2026-01-01T01:00:00Z"}
    (gpu,) = seen([job(gpu=GPU, turn=turn)], [], [])
    assert (gpu["owner"], gpu["job"]["name"], gpu["since"]) == ("job", "digits", turn["since"])
    (gpu,) = seen([job(phase="Succeeded", gpu=GPU)], [], [])
    assert gpu["owner"] == "unknown"


def test_a_lease_counts_more_than_a_job() -> None:
    (gpu,) = seen([job(gpu=GPU, turn={"since": "t"})], [lease(**{"gpurelay.dev/reload-owed": "x"})], [])
    assert (gpu["owner"], gpu["owed"]) == ("resident", True)


def test_a_resident_that_never_had_a_turn_is_a_gpu_too() -> None:
    known, unknown = seen([job(gpu=GPU)], [lease()], [pod(), pod("sam3-2", "node-2", deletionTimestamp="t")])
    assert known["pod"]["id"] == "gpu-relay/sam3"
    assert (unknown["owner"], unknown["pod"]["phase"]) == ("resident", "Terminating")


def test_a_resident_with_a_new_name_is_known_by_its_node() -> None:
    (gpu,) = seen([job(gpu=GPU)], [lease()], [pod("sam3-new")])
    assert gpu["resident"] == "gpu-relay/sam3-new"


def test_the_renew_key_stays_behind() -> None:
    assert "secret" not in json.dumps(seen([job(gpu=GPU)], [lease()], [pod()]))


# the feed


def test_only_differences_are_told() -> None:
    differences = DeltaEncoder()
    differences.replace({"a": {"n": 1}, "b": {"n": 2}})
    assert differences.take() == {"put": [{"n": 1}, {"n": 2}], "gone": []}
    differences.replace({"a": {"n": 1}, "b": {"n": 3}})
    assert differences.take() == {"put": [{"n": 3}], "gone": []}
    differences.replace({"a": {"n": 1}, "b": {"n": 3}})
    assert differences.take() is None
    differences.replace({"b": {"n": 3}})
    assert differences.take() == {"put": [], "gone": ["a"]}


def test_no_text_can_end_an_event() -> None:
    text = event("jobs", {"message": "one\n\nevent: end\ndata: {}\n\n"})
    assert text.count("\n\n") == 1
    assert text.endswith("\n\n")
