import subprocess
import sys

import pytest

from gpu_relay.domain.job.validation import MANAGED_ARGS
from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job.arguments import _OWNED, check_names, defaults


def refusal(*names: str) -> str:
    with pytest.raises(ConfigInvalidError) as caught:
        check_names(names)
    return str(caught.value)


def test_training_arguments_pass() -> None:
    check_names(["lr0", "mosaic", "workers", "optimizer", "single_cls", "freeze", "cos_lr", "cache", "plots", "amp"])


@pytest.mark.parametrize(("wrong", "right"), [("lr_0", "lr0"), ("mosiac", "mosaic"), ("warmup_epoch", "warmup_epochs")])
def test_an_unknown_argument_is_refused_with_the_nearest(wrong: str, right: str) -> None:
    assert refusal(wrong) == (f"training.args.{wrong} is not an Ultralytics training argument, did you mean '{right}'?")


def test_a_name_that_resembles_none_gets_no_suggestion() -> None:
    assert refusal("qqqq") == "training.args.qqqq is not an Ultralytics training argument"


@pytest.mark.parametrize(
    "name", ["data", "project", "name", "device", "resume", "exist_ok", "save_dir", "mode", "cfg", "time"]
)
def test_what_the_relay_decides_cannot_be_set(name: str) -> None:
    assert f"training.args.{name} cannot be set: " in refusal(name)


@pytest.mark.parametrize(
    ("name", "field"), [("epochs", "training.epochs"), ("imgsz", "training.imageSize"), ("batch", "training.batch")]
)
def test_what_has_a_field_points_to_it(name: str, field: str) -> None:
    assert f"give {field} instead" in refusal(name)


def test_an_argument_of_another_mode_is_refused() -> None:
    assert "training.args.show_labels has no effect on a training" in refusal("show_labels")


def test_every_problem_is_named_at_once() -> None:
    assert refusal("lr", "lr0", "device").count("training.args.") == 2


def test_problems_that_do_not_fit_are_counted_and_none_is_cut() -> None:
    said = refusal(*(f"mosiac_{number:03}" for number in range(100)))
    assert len(said) < 1000
    *named, more = said.split("; ")
    assert all(each.startswith("training.args.mosiac_") and each.endswith(("argument", "'mosaic'?")) for each in named)
    assert more == f"and {100 - len(named)} more"


def test_the_operator_refuses_the_trainers_own_arguments() -> None:
    assert MANAGED_ARGS.keys() == _OWNED.keys()


def test_the_list_is_ultralytics_own_and_needs_no_import_of_it() -> None:
    program = (
        "import sys; from yolo_trainer.job.arguments import check_names; check_names(['lr0']); "
        "assert not {'torch', 'ultralytics'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert len(defaults()) > 90
