"""The types of `spec.training` and `spec.validation`."""

from typing import Any, Literal

from pydantic import Field
from pydantic.config import JsonDict

from gpu_relay.api import words
from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.sentences import DURATION

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
"""A value of any type, but without depth: what nests without end would take every reader's stack.

A schema cannot bound a sum where values have no type, so it bounds each: longer lists are of numbers, texts are paths.
"""


class Training(ApiType):
    """How to train. Everything that Ultralytics' `train` takes can be given in `args`."""

    epochs: int = Field(default=100, ge=1, le=100_000, description="Number of epochs.")
    image_size: int = Field(default=640, ge=32, le=8192, description="Image size in pixels (Ultralytics' `imgsz`).")
    batch: int | Literal["auto"] = Field(
        default=16,
        json_schema_extra=_BATCH,
        description="Images per batch, or `auto`: chosen from `gpu.memory`. An attempt after OutOfMemory takes half.",
    )
    patience: int = Field(
        default=100, ge=0, description="Epochs without improvement after which training stops; 0 means never."
    )
    seed: int = Field(default=0, ge=0, description="Random seed.")
    time_limit: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="Training time, such as `8h`, over all attempts: the training then ends with the epoch that it is "
        "in, and what it has is validated, exported and published. Default: none.",
    )
    checkpoint_interval: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Epochs from one checkpoint to the next. An interrupted training repeats the epochs since the last "
        "one; a larger number writes less to the volume. Default: 1.",
    )
    args: dict[str, Any] = Field(
        default={},
        json_schema_extra={
            "additionalProperties": _ARGUMENT,
            "maxProperties": 64,
        },  # older jobs, with more, stay readable
        description="Further Ultralytics training arguments by their own names, for example `lr0: 0.001`: numbers, "
        "texts, true and false, and lists of these; at most 16 KiB as JSON.",
    )


class Validation(ApiType):
    """A split of the data set that the weights are validated on, besides the one that each epoch is validated on."""

    split: Literal["train", "val", "test"] = Field(
        description="In mode Train the best weights are validated on it after the training; `val` is validated "
        "anyway. In mode Validate it is what the weights are validated on."
    )
