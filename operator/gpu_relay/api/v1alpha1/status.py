"""The types of `status`."""

from typing import Literal

from pydantic import Field

from gpu_relay.api.schema import LIST_TYPE, MAP_KEYS, ApiType, Time
from gpu_relay.api.words import ConditionType, Phase


class Condition(ApiType):
    """A Kubernetes condition."""

    type: str = Field(description="; ".join(f"{t}: {t.description}" for t in ConditionType))
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="One word for the cause.")
    message: str = Field(description="A sentence with figures.")
    last_transition_time: Time = Field(description="When `status` last changed.")
    observed_generation: int = Field(
        default=0, json_schema_extra={"format": "int64"}, description="Generation of the spec it speaks of."
    )


class GpuStatus(ApiType):
    """The GPU of the present or last turn. Sizes are MiB."""

    node: str | None = Field(default=None, description="Node of the GPU.")
    uuid: str | None = Field(default=None, description="NVML UUID of the GPU.")
    name: str | None = Field(default=None, description="Product name, for example Tesla T4.")
    resident: str | None = Field(default=None, description="Resident pod, as namespace/name.")
    total: int | None = Field(default=None, description="Total memory of the GPU in MiB.")
    needed: int | None = Field(default=None, description="Memory that the job asked for, in MiB.")
    free_before: int | None = Field(default=None, description="Free memory before the resident was unloaded, in MiB.")
    free_after: int | None = Field(
        default=None, description="Free memory measured just before the training pod was created, in MiB."
    )


class Turn(ApiType):
    """The time in which the job owns a GPU."""

    fence: int = Field(description="The turn's fence: grows with every turn on a GPU.")
    gpu: str | None = Field(default=None, description="GPU of the turn, as its Lease is named.")
    since: Time = Field(description="When the Lease was taken.")
    stopping: str | None = Field(
        default=None, description="Why the training was told to stop; absent while it may go on."
    )
    sharing: Literal["Coresident"] | None = Field(
        default=None, description="Coresident where the training runs beside the loaded resident, which is not held."
    )


class Attempt(ApiType):
    """One training pod that has ended."""

    number: int = Field(description="1 for the first.")
    pod: str = Field(description="Name of the pod.")
    fence: int = Field(description="Fence of the turn in which it ran.")
    gpu: str | None = Field(default=None, description="GPU that it ran on, as the Lease is named.")
    reason: str = Field(description="How it ended: Completed, Interrupted, OutOfMemory, …")
    message: str = Field(default="", description="The trainer's last word.")
    exit_code: int | None = Field(default=None, description="Exit code of the container.")
    epoch: int | None = Field(default=None, description="Finished epochs.")
    batch: int | None = Field(default=None, description="Images per batch in this attempt.")
    start_time: Time | None = Field(default=None, description="When the container started.")
    completion_time: Time = Field(description="When it ended.")


class Preparation(ApiType):
    """Fetching and checking of the job's data, in a pod without a GPU, before the job joins the queue."""

    number: int = Field(description="1 for the first preparing pod, and so on.")
    pod: str = Field(description="Name of the present or last preparing pod.")
    reason: str | None = Field(
        default=None, description="How it ended: Completed, DatasetInvalid, …; absent while it is to run."
    )
    message: str = Field(default="", description="The pod's last word.")
    failures: int = Field(default=0, description="Preparing pods that failed; at most `backoffLimit` are tolerated.")
    start_time: Time = Field(description="When it began.")
    failing_since: Time | None = Field(
        default=None, description="Since when the pod cannot be created or started; absent while it starts or runs."
    )
    completion_time: Time | None = Field(default=None, description="When it ended.")
    seconds: float | None = Field(
        default=None, description="What fetching and checking took, in seconds; the resident served meanwhile."
    )
    bytes: int | None = Field(
        default=None, json_schema_extra={"format": "int64"}, description="Bytes that were fetched."
    )
    images: dict[str, int] = Field(default={}, description="Number of images, by split.")


class Progress(ApiType):
    """How far the present attempt is."""

    epoch: int = Field(description="Finished epochs.")
    epochs: int = Field(description="Epochs in all; 0 in the modes Validate and Export.")
    summary: str = Field(
        description="`epoch/epochs`, for the table that `kubectl get` prints; empty in the modes Validate and Export."
    )
    stage: str = Field(default="", description="preparing, training, validating, exporting or done.")
    metrics: dict[str, float] = Field(default={}, description="Metrics of the last validation, for example mAP50_95.")
    eta: Time | None = Field(default=None, description="When the training is expected to end.")


class Curve(ApiType):
    """The course of a training: rows of figures with spaces between them, each one line of `kubectl describe`."""

    epochs: str = Field(description="The epochs that are kept, for example `1 2 3`; each figure belongs to one.")
    metrics: dict[str, str] = Field(
        default={}, description="Metrics of their validations, for example mAP50: `0.1 0.3 -`; `-` where none was told."
    )
    losses: dict[str, str] = Field(default={}, description="Mean losses of their trainings, alike.")


class FurtherValidation(ApiType):
    """Figures of the weights on the split that `spec.validation` names."""

    split: str = Field(description="The split.")
    metrics: dict[str, float] = Field(default={}, description="Metrics on it, for example mAP50_95.")


class Results(ApiType):
    """What the training has produced. Paths are inside the output volume."""

    weights: dict[str, str] = Field(default={}, description="`best` and `last` weights.")
    metrics: dict[str, float] = Field(default={}, description="Metrics of the best weights.")
    validation: FurtherValidation | None = Field(
        default=None, description="Metrics on the split that `spec.validation` names; absent before."
    )
    exports: dict[str, str] = Field(default={}, description="Exported models by format.")
    export_errors: dict[str, str] = Field(default={}, description="Formats that could not be made, and why.")
    tracking: dict[str, str] = Field(
        default={}, description="Where the training is recorded, by service: the URL of the MLflow run, for example."
    )
    peak_memory: int | None = Field(default=None, description="Peak GPU memory of the training, in MiB.")


class YoloTrainingJobStatus(ApiType):
    """What is known about the job. Written by the operator alone."""

    observed_generation: int = Field(
        default=-1, json_schema_extra={"format": "int64"}, description="Generation of the spec last acted upon."
    )
    phase: str | None = Field(default=None, description="; ".join(f"{p}: {p.description}" for p in Phase))
    queue_position: int | None = Field(
        default=None,
        description="Place in the queue, from 1: exact among the first ten, further back an upper bound. Absent once "
        "the job has a GPU.",
    )
    estimated_start_time: Time | None = Field(
        default=None,
        description="When the job's turn is expected to begin: by the eta of running training jobs, and by the "
        "seconds per epoch of completed jobs of the namespace with the same model, task, data and image size; absent "
        "while there is no basis.",
    )
    conditions: list[Condition] = Field(
        default=[], json_schema_extra={LIST_TYPE: "map", MAP_KEYS: ["type"]}, description="Conditions after kstatus."
    )
    preparation: Preparation | None = Field(
        default=None, description="How the data was fetched and checked before the job joined the queue."
    )
    gpu: GpuStatus | None = Field(default=None, description="The GPU of the present or last turn.")
    turn: Turn | None = Field(default=None, description="The present turn; absent without a GPU.")
    attempts: list[Attempt] = Field(
        default=[],
        json_schema_extra={LIST_TYPE: "map", MAP_KEYS: ["number"]},
        description="Training pods that have ended, oldest first.",
    )
    attempt: int | None = Field(default=None, description="Number of the present or last attempt.")
    pod: str | None = Field(default=None, description="Training pod of the present or last attempt.")
    progress: Progress | None = Field(default=None, description="How far the training is.")
    curve: Curve | None = Field(
        default=None, description="The training's course: about sixty epochs of all, evenly, as far as they were seen."
    )
    results: Results | None = Field(default=None, description="What the training has produced.")
    start_time: Time | None = Field(
        default=None,
        description="When the first turn began, or the first one after the job was suspended or preempted.",
    )
    completion_time: Time | None = Field(default=None, description="When the job succeeded or failed.")
