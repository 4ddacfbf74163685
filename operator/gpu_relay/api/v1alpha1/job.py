"""The type of a whole YoloTrainingJob."""

from typing import Annotated

from pydantic import ConfigDict, Field

from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.v1alpha1.spec import YoloTrainingJobSpec
from gpu_relay.api.v1alpha1.status import YoloTrainingJobStatus


class YoloTrainingJob(ApiType):
    """Trains a YOLO model on a GPU that an inference pod owns by default, and gives the GPU back."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$')",
                    "message": "the name becomes part of pod names and a label: at most 52 of a-z, 0-9, '-'; no dots",
                }
            ]
        }
    )
    spec: YoloTrainingJobSpec = Field(description="What to train, on what, and with how much of a GPU.")
    status: Annotated[YoloTrainingJobStatus, Field(description="What is known about the job.")] = (
        YoloTrainingJobStatus()
    )
