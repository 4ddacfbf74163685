"""The types of `status`."""

from typing import Literal

from pydantic import Field

from gpu_relay.api.schema import LIST_TYPE, MAP_KEYS, ApiType, Time
from gpu_relay.api.words import ConditionType, Phase


class Condition(ApiType):
    """A Kubernetes condition."""

    type: str = Field(description=" ".join(f"{t}: {t.description}" for t in ConditionType))
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="The cause, in one word.")
    message: str = Field(description="The cause, in a sentence.")
    last_transition_time: Time = Field(description="When `status` last changed.")
    observed_generation: int = Field(
        default=0,
        json_schema_extra={("format"): ("int64")},
        description="Generation of the spec that the condition is about.",
    )


class GpuStatus(ApiType):
    """The GPU of the current or last turn. Sizes are in MiB."""

    node: str | None = Field(default=None, description="Node of the GPU.")
    uuid: str | None = Field(default=None, description="NVML UUID of the GPU.")
    name: str | None = Field(default=None, description="Product name, for example Tesla T4.")
    resident: str | None = Field(default=None, description="Resident pod, as namespace/name.")
    total: int | None = Field(default=None, description="Total memory of the GPU in MiB.")
    needed: int | None = Field(default=None, description="Memory that the job requests, in MiB.")
    free_before: int | None = Field(default=None, description="Free memory before the resident was unloaded, in MiB.")
    free_after: int | None = Field(
        default=None, description="Free memory measured just before the training pod was created, in MiB."
    )


class Turn(ApiType):
    """The time in which the job owns a GPU."""

    fence: int = Field(description="The turn's fence: an integer that grows with every turn on a GPU.")
    gpu: str | None = Field(default=None, description="GPU of the turn: the name of its Lease.")
    since: Time = Field(description="When the Lease was taken.")
    stopping: str | None = Field(default=None, description="Why the training is being stopped; absent otherwise.")
    sharing: Literal["Coresident"] | None = Field(
        default=None, description="Coresident if the training runs beside the loaded resident, which is not held."
    )


class Attempt(ApiType):
    """One training pod that has ended."""

    number: int = Field(description="1 for the first.")
    pod: str = Field(description="Name of the pod.")
    fence: int = Field(description="Fence of the turn in which it ran.")
    gpu: str | None = Field(default=None, description="GPU that it ran on: the name of its Lease.")
    reason: str = Field(description="How it ended: Completed, Interrupted, OutOfMemory, …")
    message: str = Field(default="", description="The trainer's termination message.")
    exit_code: int | None = Field(default=None, description="Exit code of the container.")
    epoch: int | None = Field(default=None, description="Finished epochs.")
    batch: int | None = Field(default=None, description="Images per batch in this attempt.")
    start_time: Time | None = Field(default=None, description="When the container started.")
    completion_time: Time = Field(description="When it ended.")


class Preparation(ApiType):
    """The preparation: a pod without a GPU fetches and checks the job's data before the job joins the queue."""

    number: int = Field(description="Number of the preparing pod, from 1.")
    pod: str = Field(description="Name of the current or last preparing pod.")
    reason: str | None = Field(default=None, description="How it ended: Completed, DatasetInvalid, …; absent before.")
    message: str = Field(default="", description="The pod's termination message.")
    failures: int = Field(default=0, description="Preparing pods that failed; at most `backoffLimit` are tolerated.")
    start_time: Time = Field(description="When it started.")
    failing_since: Time | None = Field(
        default=None, description="Time since which the pod cannot be created or started; absent otherwise."
    )
    completion_time: Time | None = Field(default=None, description="When it ended.")
    seconds: float | None = Field(
        default=None, description="Seconds that fetching and checking took; the resident stayed loaded."
    )
    bytes: int | None = Field(
        default=None, json_schema_extra={"format": "int64"}, description="Number of bytes fetched."
    )
    images: dict[str, int] = Field(default={}, description="Number of images, by split.")


class Progress(ApiType):
    """The progress of the current attempt."""

    epoch: int = Field(description="Finished epochs.")
    epochs: int = Field(description="Total epochs; 0 in the modes Validate and Export.")
    summary: str = Field(
        description="`epoch/epochs`, for the table that `kubectl get` prints; empty in the modes Validate and Export."
    )
    stage: str = Field(default="", description="preparing, training, validating, exporting or done.")
    metrics: dict[str, float] = Field(default={}, description="Metrics of the last validation, for example mAP50_95.")
    eta: Time | None = Field(default=None, description="When the training is expected to end.")


class Curve(ApiType):
    """The training curve: rows of numbers, separated by spaces, each one line of `kubectl describe`."""

    epochs: str = Field(description="The epochs of the curve, for example `1 2 3`; each row has one number for each.")
    metrics: dict[str, str] = Field(
        default={}, description="Metrics of the epochs, for example mAP50: `0.1 0.3 -`; `-` where none was reported."
    )
    losses: dict[str, str] = Field(default={}, description="Mean losses of the epochs, in the same format.")


class FurtherValidation(ApiType):
    """Metrics of the weights on the split of `spec.validation`."""

    split: str = Field(description="The split.")
    metrics: dict[str, float] = Field(default={}, description="Metrics on the split, for example mAP50_95.")


class Results(ApiType):
    """The results of the job. Paths are inside the output volume."""

    weights: dict[str, str] = Field(default={}, description="`best` and `last` weights.")
    metrics: dict[str, float] = Field(default={}, description="Metrics of the best weights.")
    validation: FurtherValidation | None = Field(default=None, description="Metrics on the split of `spec.validation`.")
    exports: dict[str, str] = Field(default={}, description="Exported models, by format.")
    export_errors: dict[str, str] = Field(default={}, description="Formats that could not be exported, with the cause.")
    tracking: dict[str, str] = Field(
        default={}, description="Where the run is recorded, by service: for example, the URL of the MLflow run."
    )
    peak_memory: int | None = Field(default=None, description="Peak GPU memory of the training, in MiB.")


class YoloTrainingJobStatus(ApiType):
    """The observed state of the job. Only the operator writes it."""

    observed_generation: int = Field(
        default=-1,
        json_schema_extra={("format"): ("int64")},
        description="Generation of the spec that the operator last observed.",
    )
    phase: str | None = Field(default=None, description=" ".join(f"{p}: {p.description}" for p in Phase))
    queue_position: int | None = Field(
        default=None,
        description="Position in the queue, from 1: exact among the first ten, an upper bound after that. Absent "
        "once the job has a GPU.",
    )
    estimated_start_time: Time | None = Field(
        default=None,
        description="When the job's turn is expected to begin, from the eta of running jobs, and from the seconds per "
        "epoch of completed jobs of the namespace with the same model, task, data and image size; absent without them.",
    )
    conditions: list[Condition] = Field(
        default=[], json_schema_extra={LIST_TYPE: "map", MAP_KEYS: ["type"]}, description="Conditions, after kstatus."
    )
    preparation: Preparation | None = Field(
        default=None, description="The preparation: fetching and checking the data before the job joins the queue."
    )
    gpu: GpuStatus | None = Field(default=None, description="The GPU of the current or last turn.")
    turn: Turn | None = Field(default=None, description="The current turn; absent without a GPU.")
    attempts: list[Attempt] = Field(
        default=[],
        json_schema_extra={LIST_TYPE: "map", MAP_KEYS: ["number"]},
        description="Training pods that have ended, oldest first.",
    )
    attempt: int | None = Field(default=None, description="Number of the current or last attempt.")
    pod: str | None = Field(default=None, description="Training pod of the current or last attempt.")
    progress: Progress | None = Field(default=None, description="The progress of the current attempt.")
    curve: Curve | None = Field(
        default=None,
        description="The training curve: about sixty of the epochs that the operator observed, evenly spaced.",
    )
    results: Results | None = Field(default=None, description="The results of the job.")
    start_time: Time | None = Field(
        default=None,
        description="When the first turn began, or the first turn after a suspension or preemption.",
    )
    completion_time: Time | None = Field(default=None, description="When the job succeeded or failed.")
