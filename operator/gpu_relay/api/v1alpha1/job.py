"""The type of a whole YoloTrainingJob."""

from typing import Annotated

from pydantic import ConfigDict, Field

from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.v1alpha1.spec import YoloTrainingJobSpec
from gpu_relay.api.v1alpha1.status import YoloTrainingJobStatus


class YoloTrainingJob(ApiType):
    """A training job of a YOLO model on a GPU that an inference pod owns by default, and gets back afterwards."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$')",
                    ("message"): (
                        "the name is part of pod names and of a label: use at most 52 of a-z, 0-9 and '-', and no dots"
                    ),
                }
            ]
        }
    )
    spec: YoloTrainingJobSpec = Field(
        description="The model to train, its data, its output, and the GPU memory that it needs."
    )
    status: Annotated[YoloTrainingJobStatus, Field(description="The observed state of the job.")] = (
        YoloTrainingJobStatus()
    )
