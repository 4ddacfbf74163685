"""The types of `spec.training` and `spec.validation`."""

from typing import Any, Literal

from pydantic import Field
from pydantic.config import JsonDict

from gpu_relay.api import words
from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.value_rules import DURATION

_BATCH: JsonDict = {
    "x-kubernetes-int-or-string": True,
    RULES: [
        {
            "rule": "type(self) == int ? self >= 1 && self <= 4096 : self == 'auto'",
            "message": "batch is a number from 1 to 4096, or auto",
        }
    ],
}


_SCALAR: JsonDict = {"x-kubernetes-preserve-unknown-fields": True, "maxProperties": 0}
_ARGUMENT: JsonDict = {
    **_SCALAR,
    "maxLength": 512,
    "maxItems": 64,
    "items": {**_SCALAR, "maxLength": 32, "maxItems": 0},
}
"""A value of any type, but without nesting: deep nesting would overflow the stack of every reader.

A schema cannot bound the total size of values without a type, so it bounds each one.
"""


class Training(ApiType):
    """How to train. `args` takes every argument of Ultralytics' `train`."""

    epochs: int = Field(default=100, ge=1, le=100_000, description="Number of epochs.")
    image_size: int = Field(default=640, ge=32, le=8192, description="Image size in pixels (Ultralytics' `imgsz`).")
    batch: int | Literal["auto"] = Field(
        default=16,
        json_schema_extra=_BATCH,
        description="Images per batch, or `auto`: chosen from `gpu.memory`. After OutOfMemory, the next attempt "
        "uses half.",
    )
    patience: int = Field(
        default=100, ge=0, description="Epochs without improvement after which the training stops; 0 means never."
    )
    seed: int = Field(default=0, ge=0, description="Random seed.")
    time_limit: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="Training time, such as `8h`, over all attempts. After it, the training ends with the current "
        "epoch, and the weights are validated, exported and published. Default: none.",
    )
    checkpoint_interval: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Epochs from one checkpoint to the next. An interrupted training repeats the epochs since the last "
        "one; a higher number writes less to the volume. Default: 1.",
    )
    args: dict[str, Any] = Field(
        default={},
        json_schema_extra={
            "additionalProperties": _ARGUMENT,
            "maxProperties": 64,
        },  # older jobs, with more, stay readable
        description="Further Ultralytics training arguments by their names, for example `lr0: 0.001`: numbers, "
        "strings, true and false, and lists of these; at most 16 KiB as JSON.",
    )


class Validation(ApiType):
    """A split of the data set on which the weights are validated, besides the one on which each epoch is validated."""

    split: Literal["train", "val", "test"] = Field(
        description=(
            "The split. In mode Train, the best weights are validated on it after the training (on `val` they are "
            "validated anyway). In mode Validate, the weights of `model` are validated on it."
        )
    )
