# SPDX-License-Identifier: AGPL-3.0-only
"""The description of a data set, `data.yaml`: read as Ultralytics reads it, with a sentence for each error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from yolo_trainer.errors import DatasetInvalidError
from yolo_trainer.job.spec import Task
from yolo_trainer.text import EncodingError, plain, read_utf8

DESCRIPTION = "data.yaml"
NOT_PASSED_ON = frozenset({"download", "minival"})
"""A script to run, and a split that nothing reads."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""What no YAML may hold; Ultralytics drops it where the file cannot be read otherwise."""


class Description(BaseModel):
    """A `data.yaml`. Fields that only Ultralytics reads pass through."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    path: str = "."
    train: str | list[str]
    val: str | list[str]
    test: str | list[str] | None = None
    names: list[str] | None = None
    nc: int | None = Field(default=None, ge=1)
    kpt_shape: tuple[int, int] | None = None
    flip_idx: list[int] | None = None

    @field_validator("path", mode="before")
    @classmethod
    def _empty_path(cls, path: Any) -> Any:
        return path or "."

    @field_validator("names", mode="before")
    @classmethod
    def _names_in_order(cls, names: Any) -> Any:
        return None if names is None else _in_order(names)

    @model_validator(mode="after")
    def _classes_agree(self) -> Description:
        if self.names is None and self.nc is None:
            raise ValueError("names is missing: list the classes")
        if self.names is not None and self.nc not in (None, len(self.names)):
            raise ValueError(f"nc says {self.nc} classes, names lists {len(self.names)}: make them agree or remove nc")
        return self

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.names) if self.names is not None else self.nc or 0

    def passed_on(self) -> dict[str, Any]:
        """Return the fields that are passed to Ultralytics."""
        return self.model_dump(exclude_none=True, exclude=set(NOT_PASSED_ON))


def read_description(file: Path, task: Task) -> Description:
    """Read a description, and check that it has all that the task needs.

    Raises:
        DatasetInvalidError: the file cannot be read, or a field is wrong.

    """
    content = _read_yaml(file)
    if not isinstance(content, dict):
        raise DatasetInvalidError(f"{file} must hold at least train, val and names")
    fields = {str(key): None if value == "None" else value for key, value in content.items()}
    if "val" not in fields and "validation" in fields:
        fields["val"] = fields.pop("validation")
    try:
        description = Description.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(
            _sentence(str(details["loc"][0]) if details["loc"] else "", details["type"], details["msg"])
            for details in error.errors()
        )
        raise DatasetInvalidError(f"{file}: {problems}") from error
    if task == "pose":
        _check_keypoints(description, file)
    return description


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds. Raises EncodingError, yaml.YAMLError or OSError."""
    text = read_utf8(file)
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        return yaml.load(_UNPRINTABLE.sub("", text), _Loader)  # noqa: S506 - a SafeLoader


def _read_yaml(file: Path) -> Any:
    try:
        return read_yaml(file)
    except OSError as error:
        raise DatasetInvalidError(
            f"{file} cannot be read ({error.strerror}): dataset.path must be a folder that holds {DESCRIPTION}, or a "
            "YAML file"
        ) from error
    except EncodingError as error:
        raise DatasetInvalidError(f"{file} {error}") from error
    except yaml.YAMLError as error:
        raise DatasetInvalidError(f"{file} is not valid YAML: {plain(str(error))}") from error


def _in_order(names: Any) -> list[str]:
    """Return the classes' names by number. Raises ValueError."""
    if isinstance(names, list):
        numbered: dict[Any, Any] = dict(enumerate(names))
    elif isinstance(names, dict):
        numbered = {_number(key): name for key, name in names.items()}
    else:
        raise ValueError(f"names is '{names}': list the classes, for example [cat, dog]")  # noqa: TRY004 - for pydantic
    if not numbered:
        raise ValueError("names is empty: list the classes")
    if sorted(numbered) != list(range(len(names))):
        raise ValueError("names must number the classes from 0 without a gap")
    return [_name(number, numbered[number]) for number in range(len(numbered))]


def _number(key: Any) -> int:
    if isinstance(key, bool) or not re.fullmatch(r"-?\d+", str(key)):
        raise ValueError(f"names must number the classes from 0, and '{key}' is no number: write 0: {key}")
    return int(key)


def _name(number: int, name: Any) -> str:
    if isinstance(name, bool):
        raise ValueError(  # noqa: TRY004 - for pydantic
            f"names: class {number} is {str(name).lower()} for YAML (yes, no, on, off, true or false without quotes): "
            f"quote it, for example '{'yes' if name else 'no'}'"
        )
    if name is None or isinstance(name, (list, dict)):
        raise ValueError(f"names: class {number} has no name: give it one, in quotes")
    return str(name)


def _sentence(field: str, kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    if kind == "missing":
        return f"{field} is missing: name its folder of images"
    return message if not field or message.startswith(field) else f"{field}: {message}"


def _check_keypoints(description: Description, file: Path) -> None:
    shape = description.kpt_shape
    if shape is None:
        raise DatasetInvalidError(f"{file}: kpt_shape is missing: the task pose needs [number of keypoints, 2 or 3]")
    if shape[0] < 1 or shape[1] not in (2, 3):
        raise DatasetInvalidError(f"{file}: kpt_shape must be the number of keypoints and 2 or 3")
    if description.flip_idx and sorted(description.flip_idx) != list(range(shape[0])):
        raise DatasetInvalidError(
            f"{file}: flip_idx must name each keypoint from 0 to {shape[0] - 1} once, in a mirrored image's order"
        )
