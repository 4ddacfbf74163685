"""The types of `gpurelay.dev/v1alpha1`; the CRD is generated from them (`make crds`).

The descriptions are what `kubectl explain` shows.
"""

from gpu_relay.api.v1alpha1.gpu import Gpu, LabelSelector
from gpu_relay.api.v1alpha1.job import YoloTrainingJob
from gpu_relay.api.v1alpha1.labelling import Labelling
from gpu_relay.api.v1alpha1.spec import YoloTrainingJobSpec
from gpu_relay.api.v1alpha1.status import (
    Attempt,
    Condition,
    Curve,
    FurtherValidation,
    GpuStatus,
    Preparation,
    Progress,
    Results,
    Turn,
    YoloTrainingJobStatus,
)
from gpu_relay.api.v1alpha1.storage import ClaimSource, Dataset, Output
from gpu_relay.api.v1alpha1.tracking import MlflowTracking, Tracking, WandbTracking
from gpu_relay.api.v1alpha1.training import Training, Validation

__all__ = [
    "Attempt",
    "ClaimSource",
    "Condition",
    "Curve",
    "Dataset",
    "FurtherValidation",
    "Gpu",
    "GpuStatus",
    "LabelSelector",
    "Labelling",
    "MlflowTracking",
    "Output",
    "Preparation",
    "Progress",
    "Results",
    "Tracking",
    "Training",
    "Turn",
    "Validation",
    "WandbTracking",
    "YoloTrainingJob",
    "YoloTrainingJobSpec",
    "YoloTrainingJobStatus",
]
