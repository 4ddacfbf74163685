"""The type of `spec`, with the rules that concern several of its fields."""

from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gpu_relay.api.modes import FINISHED_OUTPUT, MODE_RULES, RESUME_RULES
from gpu_relay.api.pod_template import PodTemplate
from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.v1alpha1.gpu import Gpu
from gpu_relay.api.v1alpha1.storage import Dataset, Output
from gpu_relay.api.v1alpha1.tracking import Tracking
from gpu_relay.api.v1alpha1.training import Training, Validation


def _immutable(what: str) -> dict[str, Any]:
    return {"rule": "self == oldSelf", "message": f"{what} cannot be changed: create a new job instead"}


def _optional_immutable(what: str) -> dict[str, Any]:
    rule = f"has(self.{what}) == has(oldSelf.{what}) && (!has(self.{what}) || self.{what} == oldSelf.{what})"
    return {"rule": rule, "message": f"{what} cannot be changed: create a new job instead"}


_OFFLINE_NEEDS_VOLUME: JsonDict = {
    "rule": "!has(self.tracking) || !has(self.tracking.wandb) || !has(self.tracking.wandb.offline) || "
    "!self.tracking.wandb.offline || has(self.output.persistentVolumeClaim)",
    "message": "tracking.wandb.offline needs output.persistentVolumeClaim: without one the run goes with the pod",
}


class YoloTrainingJobSpec(ApiType):
    """What to train, on what, and with how much of a GPU."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                *(
                    {**_immutable(name), "rule": f"self.{name} == oldSelf.{name}"}
                    for name in ("model", "task", "dataset", "training", "output", "gpu")
                ),
                _OFFLINE_NEEDS_VOLUME,
            ]
            + [_optional_immutable(name) for name in ("mode", "validation", "resumeFrom")]
            + MODE_RULES
            + RESUME_RULES
        }
    )
    mode: Literal["Train", "Validate", "Export"] | None = Field(
        default=None,
        description="Train: trains, validates and exports. Validate: validates the weights that `model` names, and "
        "publishes figures and plots. Export: exports the weights that `model` names. Default: Train.",
    )
    model: str = Field(
        min_length=1,
        max_length=1024,
        description="`yolo26n.yaml` to train from scratch, or weights (`….pt`) beside the data set or in the output. "
        "Modes Validate and Export need weights.",
    )
    task: Literal["detect", "segment", "classify", "pose", "obb"] = Field(
        default="detect", description="What the model learns."
    )
    dataset: Dataset = Field(description="The training data.")
    training: Training = Field(default=Training(), description="How to train.")
    validation: Validation | None = Field(
        default=None,
        description="Validation on another split, such as `test`. Default: none in mode Train, `val` in mode Validate.",
    )
    output: Output = Field(description="Where the results go.")
    resume_from: str | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        json_schema_extra=FINISHED_OUTPUT,
        description="Output of a finished job with `output.keepCheckpoint: true`, which is trained for more epochs: "
        "its path inside `output.persistentVolumeClaim`, or its `s3://` or `gs://` folder. `training.epochs` is the "
        "total. The finished job's output is only read.",
    )
    gpu: Gpu = Field(description="What the job needs of a GPU.")
    priority: int = Field(
        default=0,
        ge=-1_000_000_000,
        le=1_000_000_000,
        description="Higher goes first; among equals, the older job. Running jobs are not interrupted, unless they are "
        "`preemptible`.",
    )
    preemptible: bool = Field(
        default=False,
        description="true lets a waiting job of higher priority have this job's GPU: the training stops at a "
        "checkpoint, waits in the queue, and goes on from there. It costs no attempt.",
    )
    suspend: bool = Field(
        default=False,
        description="true stops the training at a checkpoint and gives the GPU back; false goes on from there.",
    )
    backoff_limit: int = Field(
        default=3, ge=0, le=1000, description="Failed attempts after which the job fails; interruptions do not count."
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Seconds after `status.startTime` at which the job fails with DeadlineExceeded, pauses between "
        "attempts included; a training is stopped at a checkpoint first. Time in the queue before the first turn does "
        "not count, and suspension and preemption start the clock anew. As in batch/v1, it may be changed at any time.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds after success or failure at which the job is deleted with its pods; results stay on "
        "their volume. 0 deletes at once; absent never does. As in batch/v1, it may be changed at any time.",
    )
    tracking: Tracking | None = Field(
        default=None,
        description="Experiment tracking with MLflow, TensorBoard and Weights & Biases. Default: none. It may be "
        "changed; the change holds for the next attempt.",
    )
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Settings of the training pod.")

    @property
    def trains(self) -> bool:
        """Whether the job trains: the other modes have no epochs."""
        return self.mode in (None, "Train")
