"""The JSON that the page sends of jobs, Leases and residents: small, and without secrets."""

import json
from typing import Any

from gpu_relay.domain.objects.job import job_of
from gpu_relay.domain.objects.lease import lease_of
from gpu_relay.domain.objects.resident import GpuReport, report_of, resident_of, resident_pod_of
from relay_page import jobs
from relay_page.feed import DeltaEncoder, event
from relay_page.gpus import gpus

Object = dict[str, Any]
NOW = "2026-01-01T01:00:00Z"
UUID = "GPU-5F0C"
GPU = {"uuid": UUID, "node": "node-1", "name": "Tesla T4", "total": 15360, "resident": "gpu-relay/sam3"}


def job(name: str = "digits", *, phase: str | None = "Training", **status: Any) -> Object:
    meta = {
        "uid": f"uid-{name}", "name": name, "namespace": "vision", "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    spec = {
        "model": "yolo26n.yaml", "dataset": {"persistentVolumeClaim": {"claimName": "data"}},
        "output": {"persistentVolumeClaim": {"claimName": "results"}}, "gpu": {"memory": "10Gi"},
    }  # fmt: skip
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, **status}}


def attempt(number: int, **more: Any) -> Object:
    ended = {"pod": f"digits-{number}", "fence": number, "reason": "Interrupted", "completionTime": NOW}
    return {"number": number, "message": "m", **ended, **more}


def condition(kind: str, reason: str, message: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": NOW}


def summary(raw: Object) -> Object:
    return jobs.row(raw).summary


def details(raw: Object) -> Object:
    return jobs.details(job_of(raw))


def lease(holder: str = "resident", **annotations: str) -> Object:
    known = {"gpurelay.dev/node": "node-1", "gpurelay.dev/renew-key": "secret", **annotations}
    spec = {"holderIdentity": holder, "acquireTime": "2026-01-01T01:00:00Z", "leaseTransitions": 5}
    return {"metadata": {"name": UUID.lower(), "resourceVersion": "1", "annotations": known}, "spec": spec}


def pod(name: str = "sam3", node: str = "node-1", **meta: Any) -> Object:
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"namespace": "gpu-relay", "name": name, "uid": name, "creationTimestamp": NOW, **meta},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [ready]},
    }


def seen(
    raw_jobs: list[Object], leases: list[Object] | None, pods: list[Object], report: GpuReport | None = None
) -> list[Object]:
    on_gpus = [row.on_gpu for row in map(jobs.row, raw_jobs) if row.on_gpu is not None]
    known = None if leases is None else {each.gpu: each for each in map(lease_of, leases)}
    residents = {f"{each.namespace}/{each.name}": each for each in map(resident_pod_of, pods)}
    return gpus(on_gpus, known, residents, [resident_of(each, report, "") for each in residents.values()])


def report(**fields: Any) -> GpuReport:
    """Return the report of a resident that is unloaded for a training job, which uses 10,240 MiB."""
    unloaded = {
        "uuid": UUID, "name": "Tesla T4", "total_mib": 15360, "reserved_mib": 450, "used_mib": 10240,
        "free_mib": 4670, "model_loaded": False, "state": "unloaded", "refused": 12,
        "hold": {"holder": "yolotrainingjob/vision/digits/u", "fence": 5, "expires_in_seconds": 50.0},
    }  # fmt: skip
    return report_of({**unloaded, **fields})


# jobs


def test_a_new_job_without_status() -> None:
    bare = job()
    del bare["status"]
    assert summary(bare)["phase"] == "New"
    assert details(bare)["curve"] == []


def test_the_most_severe_condition_says_why() -> None:
    conditions = [
        condition("Reconciling", "Queued", "waits"),
        condition("Complete", "No", "no", status="False"),
        condition("Stalled", "OutOfMemory", "x" * 1000),
    ]
    line = summary(job(conditions=conditions))
    assert (line["reason"], line["message"]) == ("OutOfMemory", "x" * 300)
    assert details(job(conditions=conditions))["why"] == "x" * 1000


def test_results_count_more_than_the_latest_validation() -> None:
    progress = {"epoch": 3, "epochs": 3, "summary": "3/3", "metrics": {"mAP50": 0.8, "mAP50_95": 0.5}}
    assert summary(job(progress=progress))["headline"] == ["mAP50_95", 0.5]
    assert summary(job(progress=progress, results={"metrics": {"top1": 0.9}}))["headline"] == ["top1", 0.9]
    assert summary(job())["headline"] is None


def test_details_have_the_facts_of_spec_and_status() -> None:
    results = {"weights": {"best": "best.pt"}, "metrics": {"mAP50": 0.8}}
    shown = details(job(gpu={**GPU, "freeBefore": 910}, results=results, attempts=[attempt(1, exitCode=1, batch=8)]))
    assert (shown["gpu"]["freeBefore"], shown["gpu"]["freeAfter"]) == (910, None)
    assert (shown["results"]["weights"], shown["results"]["validation"]) == ({"best": "best.pt"}, None)
    assert (shown["attempts"][0]["exitCode"], shown["attempts"][0]["batch"]) == (1, 8)
    assert (shown["spec"]["epochs"], shown["spec"]["imageSize"], shown["spec"]["validation"]) == (100, 640, None)
    assert (shown["spec"]["dataset"], shown["spec"]["output"]) == ("PVC data", "PVC results")


def test_details_have_the_further_arguments_as_json() -> None:
    with_arguments = job()
    with_arguments["spec"]["training"] = {
        "args": {"lr0": 0.001, "freeze": [0, 1], "optimizer": "AdamW", "plots": False}
    }
    assert list(details(with_arguments)["spec"]["args"].items()) == [
        ("freeze", "[0, 1]"), ("lr0", "0.001"), ("optimizer", '"AdamW"'), ("plots", "false"),
    ]  # fmt: skip
    assert details(job())["spec"]["args"] == {}


def test_a_job_that_cannot_be_read_is_listed_with_the_field() -> None:
    unreadable = job(progress={"epoch": "many"}, gpu=GPU)
    row = jobs.row(unreadable)
    assert (row.summary["name"], row.summary["phase"], row.on_gpu) == ("digits", "Unreadable", None)
    assert "status.progress.epoch is 'many'" in row.summary["message"]
    assert row.summary.keys() == summary(job()).keys()


def test_the_feed_has_the_newest_attempts_and_the_details_have_all() -> None:
    attempts = [attempt(number) for number in range(1, 31)]
    shown = summary(job(attempts=attempts))["attempts"]
    assert [each["number"] for each in shown] == list(range(19, 31))
    assert "message" not in shown[0]
    assert len(details(job(attempts=attempts))["attempts"]) == 30


def test_500_jobs_make_a_feed_of_half_a_megabyte() -> None:
    attempts = [attempt(1, reason="Completed", startTime=NOW)]
    conditions = [condition("Complete", "Completed", "x" * 200)]
    many = [summary(job(f"job-{n}", gpu=GPU, attempts=attempts, conditions=conditions)) for n in range(500)]
    assert len(event("jobs", {"put": many, "gone": []})) < 600_000


# GPUs


def test_the_lease_says_who_owns_a_gpu_and_jobs_what_it_is() -> None:
    held = lease("yolotrainingjob/other-team/secret-plan/uid")
    (gpu,) = seen([job(phase="Succeeded", gpu=GPU)], [held], [pod()])
    named = {"namespace": "other-team", "name": "secret-plan", "title": "other-team/secret-plan"}
    assert (gpu["owner"], gpu["job"]) == ("job", named)
    assert (gpu["name"], gpu["node"], gpu["fence"], gpu["pod"]["ready"]) == ("Tesla T4", "node-1", 5, True)


def test_without_leases_jobs_say_who_owns_a_gpu() -> None:
    (gpu,) = seen([job(gpu=GPU, turn={"since": NOW, "fence": 5})], None, [])
    assert (gpu["owner"], gpu["job"]["name"], gpu["since"]) == ("job", "digits", NOW)
    (gpu,) = seen([job(phase="Succeeded", gpu=GPU)], None, [])
    assert gpu["owner"] == "unknown"


def test_without_leases_a_resident_may_have_lent_its_gpu() -> None:
    (gpu,) = seen([], None, [pod()])
    assert (gpu["key"], gpu["owner"]) == ("pod/gpu-relay/sam3", "unknown")


def test_a_lease_counts_more_than_a_job() -> None:
    (gpu,) = seen([job(gpu=GPU, turn={"since": NOW, "fence": 5})], [lease(**{"gpurelay.dev/reload-owed": "x"})], [])
    assert (gpu["owner"], gpu["residentState"]["state"]) == ("resident", "to be loaded")


def test_a_resident_that_never_had_a_turn_is_a_gpu_too() -> None:
    known, unknown = seen([job(gpu=GPU)], [lease()], [pod(), pod("sam3-2", "node-2", deletionTimestamp="t")])
    assert known["pod"]["id"] == "gpu-relay/sam3"
    assert (unknown["owner"], unknown["pod"]["phase"]) == ("resident", "Terminating")


def test_a_resident_with_a_new_name_is_known_by_its_node() -> None:
    (gpu,) = seen([job(gpu=GPU)], [lease()], [pod("sam3-new")])
    assert gpu["resident"] == "gpu-relay/sam3-new"


def test_the_renew_key_stays_behind() -> None:
    assert "secret" not in json.dumps(seen([job(gpu=GPU)], [lease()], [pod()]))


# a GPU's resident

HELD = "yolotrainingjob/vision/digits/uid-digits"


def test_a_report_has_the_state_the_refused_requests_and_the_memory() -> None:
    eta = "2026-01-01T01:30:00Z"
    training = job(
        gpu=GPU, turn={"since": NOW, "fence": 5},
        progress={"epoch": 3, "epochs": 9, "summary": "3/9", "eta": eta},
    )  # fmt: skip
    out = {"gpurelay.dev/out-since": "2026-01-01T00:50:00Z"}
    (gpu,) = seen([training], [lease(HELD, **out)], [pod()], report(residual_mib=1_200))
    assert (gpu["used"], gpu["total"]) == (10240, 15360)
    assert gpu["residentState"] == {
        "state": "unloaded", "measured": True, "out": "2026-01-01T00:50:00Z", "back": eta,
        "refused": 12, "residual": 1_200, "trouble": "",
    }  # fmt: skip
    assert "holder" not in json.dumps(gpu)


def test_without_a_report_lease_and_job_say_if_it_is_loaded() -> None:
    (gpu,) = seen([job(gpu=GPU, turn={"since": NOW, "fence": 5})], [lease(HELD)], [pod()])
    assert (gpu["residentState"]["state"], gpu["residentState"]["measured"], gpu["used"]) == ("unloaded", False, None)
    (gpu,) = seen([job(phase="Succeeded", gpu=GPU)], [lease()], [pod()])
    assert (gpu["residentState"]["state"], gpu["residentState"]["out"]) == ("loaded", None)


def test_the_resident_is_loaded_beside_a_job_that_shares_the_gpu() -> None:
    shared = job(gpu=GPU, turn={"since": NOW, "fence": 5, "sharing": "Coresident"})
    (gpu,) = seen([shared], [lease(HELD)], [pod()])
    assert (gpu["residentState"]["state"], gpu["residentState"]["out"]) == ("loaded", None)


def test_a_job_of_another_namespace_does_not_say_when_it_comes_back() -> None:
    past = job(phase="Succeeded", gpu=GPU)
    (gpu,) = seen([past], [lease("yolotrainingjob/other/plan/u")], [pod()], report())
    assert (gpu["residentState"]["state"], gpu["residentState"]["back"]) == ("unloaded", None)


# the feed


def test_only_differences_are_sent() -> None:
    encoder = DeltaEncoder()
    first: dict[str, Object] = {"a": {"n": 1}, "b": {"n": 2}}
    assert encoder.encode(first) == {"put": [{"n": 1}, {"n": 2}], "gone": []}
    assert encoder.encode({**first, "b": {"n": 3}}) == {"put": [{"n": 3}], "gone": []}
    assert encoder.encode({**first, "b": {"n": 3}}) is None
    assert encoder.encode({"b": {"n": 3}}) == {"put": [], "gone": ["a"]}


def test_no_text_can_end_an_event() -> None:
    text = event("jobs", {"message": "one\n\nevent: end\ndata: {}\n\n"})
    assert text.count("\n\n") == 1
    assert text.endswith("\n\n")
