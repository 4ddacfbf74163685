# SPDX-License-Identifier: AGPL-3.0-only
"""Which words label images: a part of the job file, and of the label file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

LabelledTask = Literal["detect", "segment", "obb"]


class LabelSection(BaseModel):
    """camelCase in the file, snake_case here; unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class LabelPrompt(LabelSection):
    """Words for SAM3, and the class that their objects belong to. Several prompts may have one class."""

    text: str = Field(min_length=1, max_length=512)
    name: str = Field(alias="class", min_length=1, pattern=r"^\S(.*\S)?$")
    threshold: float = Field(default=0.5, gt=0, lt=1)


class SplitShares(LabelSection):
    """The shares of the images in the splits besides `train`."""

    val: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _leave_some(self) -> SplitShares:
        if self.val + self.test > 0.9:
            raise ValueError("val and test together leave less than a tenth to train on")
        return self


class Labelling(LabelSection):
    """What to look for, and how the images are split."""

    prompts: tuple[LabelPrompt, ...] = Field(min_length=1, max_length=1000)
    split: SplitShares = SplitShares()
    second_pass: bool = True
    """Ask for the mirrored image, too, and compare: twice the requests, and a score for each label."""
    min_objects: int = Field(default=1, ge=1)
    """Objects that each class needs."""


class JobLabelling(Labelling):
    """What a job says besides: whether a person approves the labels before they are trained on."""

    review: Literal["Optional", "Required"] = "Optional"
    approved: bool = False

    @property
    def awaits_approval(self) -> bool:
        """True if a preparation only makes the labels; people may correct them before the next one."""
        return self.review == "Required" and not self.approved
