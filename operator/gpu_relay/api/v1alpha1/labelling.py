"""The types of `spec.dataset.label`, and the CEL rules that concern it."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.value_rules import CLASS_NAME

LABEL_RULES: list[dict[str, Any]] = [
    {
        "rule": "!has(self.dataset.label) || (!has(self.mode) || self.mode == 'Train')",
        "message": "dataset.label makes a data set to train on: leave out mode, or set it to Train",
    },
    {
        "rule": "!has(self.dataset.label) || self.task in ['detect', 'segment', 'obb']",
        "message": "dataset.label makes boxes and outlines: set task to detect, segment or obb",
    },
    {
        "rule": "!has(self.dataset.label) || has(self.output.persistentVolumeClaim)",
        "message": "dataset.label needs output.persistentVolumeClaim, where the labels are written",
    },
]


_FIXED = ("prompts", "split", "secondPass", "minObjects", "review")
"""Fields that decide what is labelled; `approved` may be changed at any time."""
UNCHANGED_LABEL = "has(self.dataset.label) == has(oldSelf.dataset.label) && (!has(self.dataset.label) || " + (
    " && ".join(f"self.dataset.label.{name} == oldSelf.dataset.label.{name}" for name in _FIXED) + ")"
)
"""A CEL rule of the spec."""

_APPROVAL: list[JsonValue] = [
    {
        "rule": "!has(self.approved) || !self.approved || (has(self.review) && self.review == 'Required')",
        "message": "approved means nothing without a review: set review to Required, or leave out approved",
    }
]

_SHARES: list[JsonValue] = [
    {
        # The API server checks the default of the whole, which is empty, before it sets those of the fields.
        "rule": "(has(self.val) ? self.val : 0.2) + (has(self.test) ? self.test : 0.0) <= 0.9",
        "message": "val and test leave less than a tenth to train on",
    }
]


class LabelPrompt(ApiType):
    """Words for SAM3, and the class of what it finds. Several prompts may have the same class."""

    text: str = Field(min_length=1, max_length=512, description="A short noun phrase, such as `deep scratch`.")
    class_name: str = Field(
        alias="class",
        min_length=1,
        max_length=128,
        pattern="^[^ ](.*[^ ])?$",
        json_schema_extra=CLASS_NAME,
        description="The class. Classes are numbered in the order of their first prompts.",
    )
    threshold: float = Field(default=0.5, ge=0.01, le=0.99, description="The least score of an object.")


class LabelSplit(ApiType):
    """The shares of the images that are not trained on. Images that look alike are on one side."""

    model_config = ConfigDict(json_schema_extra={RULES: _SHARES})
    val: float = Field(default=0.2, ge=0.01, le=0.9, description="Share of the images to validate on.")
    test: float = Field(default=0.0, ge=0.0, le=0.9, description="Share of the images for the split `test`.")


class Labelling(ApiType):
    """How images without labels are labelled while the job is prepared: a resident with SAM3 finds the objects."""

    model_config = ConfigDict(json_schema_extra={RULES: _APPROVAL})
    prompts: list[LabelPrompt] = Field(min_length=1, max_length=64, description="What to look for.")
    split: LabelSplit = Field(default=LabelSplit(), description="How the images are split.")
    second_pass: bool = Field(
        default=True,
        description="Ask for the mirrored image, too, and compare: twice the requests, and a list of doubtful labels.",
    )
    min_objects: int = Field(
        default=1, ge=1, le=1_000_000, description="Objects that each class needs; with fewer, the job fails."
    )
    review: Literal["Optional", "Required"] = Field(
        default="Optional",
        description="Required: the job waits for a person's approval between its labels and its training, and holds "
        "nothing meanwhile. Optional: it does not wait.",
    )
    approved: bool = Field(
        default=False,
        description="true lets a job with `review: Required` train on its labels, as people have corrected them. "
        "It may be changed at any time; `kubectl relay approve` sets it.",
    )
