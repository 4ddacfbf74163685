# SPDX-License-Identifier: AGPL-3.0-only
"""The label file: which images, which words, and where the data set goes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.job.document import read_document
from yolo_trainer.job.labelling import LabelledTask, Labelling, LabelPrompt, SplitShares
from yolo_trainer.suggestions import suggestion


class LabelRequest(Labelling):
    """What to label. `images` is only read; `output` is a folder of its own."""

    images: Path
    output: Path
    server: str
    token_file: Path | None = None
    """File with the server's token for inference."""
    task: LabelledTask = "detect"
    seed: int = Field(default=0, ge=0)
    parallel: int = Field(default=4, ge=1, le=64)
    """Images at the same time."""
    copy_images: bool = True
    """Where they cannot have hard links, copy the images; else link to them by their paths."""

    @field_validator("server")
    @classmethod
    def _is_url(cls, server: str) -> str:
        if not re.match(r"https?://[^/]+", server):
            raise ValueError("give a URL, such as http://sam3.gpu-relay:8000")
        return server

    @model_validator(mode="after")
    def _separate(self) -> LabelRequest:
        images, output = self.images.resolve(), self.output.resolve()
        if output == images or output.is_relative_to(images) or images.is_relative_to(output):
            raise ValueError("output must be a folder of its own, neither inside images nor around it")
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their first prompts: their numbers in labels."""
        return tuple(dict.fromkeys(prompt.name for prompt in self.prompts))

    def thresholds(self, name: str) -> str:
        """Return the thresholds of a class, for messages."""
        return ", ".join(f"{prompt.threshold:g}" for prompt in self.prompts if prompt.name == name)

    @property
    def fingerprint(self) -> str:
        """Identifies what an image is asked for: labels of another request are not reused."""
        asked = {"prompts": [prompt.model_dump() for prompt in self.prompts], "second_pass": self.second_pass}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def load_request(path: Path) -> LabelRequest:
    """Read and check the label file.

    Raises:
        ConfigInvalidError: the file cannot be read, or has fields that are missing, unknown or invalid; every problem
            is named.

    """
    return checked_request(read_document(path, "the label file"), f"the label file {path}")


def checked_request(content: Any, what: str) -> LabelRequest:
    """Return a request with this content; ConfigInvalidError names every problem in `what`."""
    try:
        return LabelRequest.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(map(_sentence, error.errors()))
        raise ConfigInvalidError(f"{what} is not valid: {problems}") from error


def _sentence(details: ErrorDetails) -> str:
    where = ".".join(str(step) for step in details["loc"]) or "the file"
    if details["type"] == "missing":
        return f"{where} is missing"
    if details["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in _section(details["loc"][0]).model_fields.items()]
        return f"{where} is unknown{suggestion(str(details['loc'][-1]), known)}"
    return f"{where}: {details['msg'].removeprefix('Value error, ')}"


def _section(step: str | int) -> type[BaseModel]:
    sections: dict[str, type[BaseModel]] = {"prompts": LabelPrompt, "split": SplitShares}
    return sections.get(str(step), LabelRequest)
