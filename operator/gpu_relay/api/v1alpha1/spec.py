"""The type of `spec`, with the rules that concern several of its fields."""

from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gpu_relay.api.modes import FINISHED_OUTPUT, MODE_RULES, RESUME_RULES
from gpu_relay.api.pod_template import PodTemplate
from gpu_relay.api.schema import RULES, ApiType
from gpu_relay.api.v1alpha1.gpu import Gpu
from gpu_relay.api.v1alpha1.labelling import LABEL_RULES, UNCHANGED_LABEL
from gpu_relay.api.v1alpha1.storage import Dataset, Output
from gpu_relay.api.v1alpha1.tracking import Tracking
from gpu_relay.api.v1alpha1.training import Training, Validation
from gpu_relay.api.value_rules import CONTROLLER


def _immutable(what: str) -> dict[str, Any]:
    return {"rule": "self == oldSelf", "message": f"{what} cannot be changed: create a new job instead"}


def _optional_immutable(what: str) -> dict[str, Any]:
    return {"rule": _unchanged(what), "message": f"{what} cannot be changed: create a new job instead"}


def _unchanged(what: str) -> str:
    return f"has(self.{what}) == has(oldSelf.{what}) && (!has(self.{what}) || self.{what} == oldSelf.{what})"


_UNCHANGED_DATA = " && ".join(
    _unchanged(f"dataset.{each}") for each in ("persistentVolumeClaim", "uri", "sha256", "path")
)


_OFFLINE_NEEDS_VOLUME: JsonDict = {
    "rule": "!has(self.tracking) || !has(self.tracking.wandb) || !has(self.tracking.wandb.offline) || "
    "!self.tracking.wandb.offline || has(self.output.persistentVolumeClaim)",
    "message": "tracking.wandb.offline needs output.persistentVolumeClaim: without it the run is deleted with the pod",
}


class YoloTrainingJobSpec(ApiType):
    """The model to train, its data, its output, and the GPU memory that it needs."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                *(
                    {**_immutable(name), "rule": f"self.{name} == oldSelf.{name}"}
                    for name in ("model", "task", "training", "output", "gpu")
                ),
                {**_immutable("dataset"), "rule": f"{_UNCHANGED_DATA} && {UNCHANGED_LABEL}"},
                _OFFLINE_NEEDS_VOLUME,
            ]
            + [_optional_immutable(name) for name in ("mode", "validation", "resumeFrom", "managedBy")]
            + MODE_RULES
            + RESUME_RULES
            + LABEL_RULES
        }
    )
    mode: Literal["Train", "Validate", "Export"] | None = Field(
        default=None,
        description="Train: train, validate and export. Validate: validate the weights of `model`, and publish metrics "
        "and plots. Export: export the weights of `model`. Default: Train.",
    )
    model: str = Field(
        min_length=1,
        max_length=1024,
        description="`yolo26n.yaml` to train from scratch, or weights (`….pt`) beside the data set or in the "
        "output. The modes Validate and Export need weights.",
    )
    task: Literal["detect", "segment", "classify", "pose", "obb"] = Field(
        default="detect", description="The task of the model."
    )
    dataset: Dataset = Field(description="The training data.")
    training: Training = Field(default=Training(), description="How to train.")
    validation: Validation | None = Field(
        default=None,
        description="Validation on another split, such as `test`. Default: none in mode Train, `val` in mode Validate.",
    )
    output: Output = Field(description="Where the results are written.")
    resume_from: str | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        json_schema_extra=FINISHED_OUTPUT,
        description="Output of a finished job with `output.keepCheckpoint: true`, to train it for more epochs: "
        "its path inside `output.persistentVolumeClaim`, or its `s3://` or `gs://` folder. "
        "`training.epochs` is the total. The finished job's output is only read.",
    )
    gpu: Gpu = Field(description="The GPU that the job needs.")
    priority: int = Field(
        default=0,
        ge=-1_000_000_000,
        le=1_000_000_000,
        description="The job of the highest priority starts first; among equals, the oldest. Running jobs are not "
        "interrupted, unless they are `preemptible`.",
    )
    preemptible: bool = Field(
        default=False,
        description="true allows a waiting job of higher priority to take this job's GPU: the training stops at a "
        "checkpoint, and the job waits in the queue and resumes from there. It costs no attempt.",
    )
    suspend: bool = Field(
        default=False,
        description="true stops the training at a checkpoint and gives the GPU back; false resumes from the "
        "checkpoint.",
    )
    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Failed attempts that are retried; one more fails the job. Interruptions do not count.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Seconds after `status.startTime` at which the job fails with DeadlineExceeded, pauses between "
        "attempts included; a running training first stops at a checkpoint. Time in the queue before the first turn "
        "does not count, and suspension and preemption reset the clock. As in batch/v1, it may be changed at any time.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds after success or failure at which the job is deleted with its pods; results stay on "
        "their volume. 0: immediately; absent: never. As in batch/v1, it may be changed at any time.",
    )
    tracking: Tracking | None = Field(
        default=None,
        description="Experiment tracking with MLflow, TensorBoard and Weights & Biases. Default: none. It may be "
        "changed; the change applies from the next attempt.",
    )
    managed_by: str | None = Field(
        default=None,
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]+$",
        json_schema_extra=CONTROLLER,
        description="The controller that runs the job; absent: this operator. `kueue.x-k8s.io/multikueue`: MultiKueue "
        "runs it in another cluster and copies its status back, as with batch/v1. Of jobs with another value, this "
        "operator does nothing but delete them by `ttlSecondsAfterFinished`.",
    )
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Settings of the training pod.")

    @property
    def trains(self) -> bool:
        """Return whether the job trains: the other modes have no epochs."""
        return self.mode in (None, "Train")
