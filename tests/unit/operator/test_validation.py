"""What the operator objects to in a job's spec."""

from gpu_relay.domain.job.validation import MANAGED_ARGS, objection
from tests.support.builders import job


def test_arguments_fit_into_an_annotation() -> None:
    args = {f"a{number}": "x" * 1000 for number in range(20)}
    assert "room for 16,384" in str(objection(job(training={"args": args})))
    assert objection(job(training={"args": {"lr0": 0.01}})) is None


def test_all_managed_arguments_are_named_at_once() -> None:
    said = objection(job(training={"args": {"epochs": 3, "lr0": 0.1, "resume": True, "data": "coco8.yaml"}}))
    assert said == (
        "the relay sets these arguments itself: training.args.epochs: use spec.training.epochs, training.args.resume: "
        "leave it out: interrupted jobs always resume, training.args.data: use spec.dataset"
    )
    assert len(str(objection(job(training={"args": dict.fromkeys(MANAGED_ARGS, 1)})))) < 1024, "an Event holds all"
