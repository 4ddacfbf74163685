import json
from pathlib import Path
from typing import Any

import pytest

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job.loader import load_job


def job_content() -> dict[str, Any]:
    """The example of docs/contracts.md."""
    contracts = Path(__file__).parents[3] / "docs" / "contracts.md"
    section = contracts.read_text(encoding="utf-8").split("## The job file")[1]
    content: dict[str, Any] = json.loads(section.split("```json")[1].split("```")[0])
    return content


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def refusal(tmp_path: Path, content: object) -> str:
    with pytest.raises(ConfigInvalidError) as caught:
        load_job(written(tmp_path, content))
    return str(caught.value)


def test_the_contracts_example_is_understood(tmp_path: Path) -> None:
    job = load_job(written(tmp_path, job_content()))

    assert (job.job.name, job.attempt, job.model) == ("digits", 1, "yolo26n.yaml")
    assert (job.training.image_size, job.training.args) == (640, {"workers": 0})
    assert job.output.export == ("onnx",)
    assert job.gpu.memory_mib == 10240
    assert job.hold is not None
    assert (job.hold.fence, job.hold.ttl_seconds) == (3, 60)
    assert "…" not in repr(job.hold), "the renew key is a secret"


def test_uuid_and_hold_may_be_null(tmp_path: Path) -> None:
    content = job_content()
    content["gpu"]["uuid"] = content["hold"] = None

    job = load_job(written(tmp_path, content))

    assert job.gpu.uuid is None
    assert job.hold is None


@pytest.mark.parametrize(
    ("part", "wrong", "right"),
    [("training", "epoch", "epochs"), ("training", "imagesize", "imageSize"), ("gpu", "memoryMib", "memoryMiB")],
)
def test_an_unknown_field_is_named_with_the_one_that_was_meant(
    tmp_path: Path, part: str, wrong: str, right: str
) -> None:
    content = job_content()
    content[part][wrong] = content[part][right]

    assert f"{part}.{wrong} is unknown, did you mean '{right}'?" in refusal(tmp_path, content)


def test_an_unknown_field_at_the_top_is_named(tmp_path: Path) -> None:
    assert "modle is unknown, did you mean 'model'?" in refusal(tmp_path, {**job_content(), "modle": "x"})


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    content = job_content()
    del content["model"]
    content["training"]["epochs"] = 0

    text = refusal(tmp_path, content)

    assert "model is missing" in text
    assert "training.epochs: Input should be greater than 0" in text


def test_something_else_than_an_object_is_refused(tmp_path: Path) -> None:
    assert "the file: Input should be" in refusal(tmp_path, [])


def test_a_missing_file_says_where_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalidError, match=r"No such file or directory.*GPU_RELAY_JOB_FILE"):
        load_job(tmp_path / "nowhere.json")


def test_broken_json_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text("{", encoding="utf-8")

    with pytest.raises(ConfigInvalidError, match="not valid JSON"):
        load_job(file)


@pytest.mark.parametrize(
    ("tracking", "said"),
    [
        ({"mlflow": {"uri": "htp://mlflow:5000"}}, "is not the address of a tracking server, did you mean 'http'?"),
        ({"mlflow": {"uri": "sqlite:///runs.db"}}, "write for example http://mlflow:5000"),
        ({"mlflow": {"uri": "http://:5000"}}, "'http://:5000' has no host"),
        ({"mlflow": {"uri": "http://me:secret@mlflow"}}, "give them as MLFLOW_TRACKING_USERNAME and"),
        ({"mlflow": {"url": "http://mlflow"}}, "tracking.mlflow.url is unknown, did you mean 'uri'?"),
        ({"wandb": {"offline": True}}, "tracking.wandb.project is missing"),
        ({"tensorboard": True}, "tracking.tensorboard is unknown, did you mean 'tensorBoard'?"),
    ],
)
def test_wrong_tracking_settings_are_refused(tmp_path: Path, tracking: dict[str, Any], said: str) -> None:
    text = refusal(tmp_path, {**job_content(), "tracking": tracking})

    assert said in text
    assert "secret@" not in text
