"""The types of `gpurelay.dev/v1alpha1`; the CRD is generated from them (`make crds`).

The descriptions are what `kubectl explain` shows.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gpu_relay.api import words
from gpu_relay.api.modes import FINISHED_OUTPUT, MODE_RULES, RESUME_RULES
from gpu_relay.api.pod_template import PodTemplate
from gpu_relay.api.schema import LABEL_NAMES, LIST_TYPE, MAP_KEYS, RULES, ApiType, Time, object_name
from gpu_relay.api.sentences import DATA_URI, DURATION, GPU_MEMORY, RESULTS_URI, SHA256, TRACKING_URI
from gpu_relay.api.words import ConditionType, Phase


def _immutable(what: str) -> dict[str, Any]:
    return {"rule": "self == oldSelf", "message": f"{what} cannot be changed: create a new job instead"}


def _optional_immutable(what: str) -> dict[str, Any]:
    rule = f"has(self.{what}) == has(oldSelf.{what}) && (!has(self.{what}) || self.{what} == oldSelf.{what})"
    return {"rule": rule, "message": f"{what} cannot be changed: create a new job instead"}


class ClaimSource(ApiType):
    """A PersistentVolumeClaim in the job's namespace."""

    claim_name: str = object_name("PersistentVolumeClaim")


_RELATIVE: JsonDict = {
    "rule": "!self.path.startsWith('/') && !self.path.split('/').exists(p, p == '..')",
    "message": "path is relative to the volume's root: no leading '/' and no '..'",
}


class Dataset(ApiType):
    """Training data in Ultralytics' layout, on a volume or behind a URI."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                _RELATIVE,
                {
                    "rule": "has(self.persistentVolumeClaim) != has(self.uri)",
                    "message": "give dataset.persistentVolumeClaim or dataset.uri, and not both",
                },
                {"rule": "!has(self.sha256) || has(self.uri)", "message": "sha256 is of what dataset.uri names"},
            ]
        }
    )
    persistent_volume_claim: ClaimSource | None = Field(default=None, description="The claim that holds the data.")
    uri: str | None = Field(
        default=None,
        pattern=r"^(https?|s3|gs)://[^/?#]+/.+$",
        max_length=2048,
        json_schema_extra=DATA_URI,
        description="`https://`, `s3://` or `gs://`: an archive (zip, tar, tar.gz, tgz, tar.bz2, tar.xz), an `.ndjson` "
        "file or, ending in `/`, a folder. Fetched once and kept for later attempts; credentials come from "
        "`podTemplate.env`.",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        max_length=128,
        json_schema_extra=SHA256,
        description="Of the archive behind `uri`; what differs is refused.",
    )
    path: str = Field(
        default="",
        max_length=1024,
        description="A folder with a data set (`data.yaml`, or COCO JSON), or its YAML or `.ndjson` file, inside the "
        "volume or archive; empty means the volume's root, or wherever the archive has its data set.",
    )


class Output(ApiType):
    """Where weights, metrics and plots go. Several jobs may share a volume: each writes a folder of its own."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                _RELATIVE,
                {
                    "rule": "has(self.persistentVolumeClaim) || has(self.uri)",
                    "message": "give output.persistentVolumeClaim, output.uri, or both",
                },
            ]
        }
    )
    persistent_volume_claim: ClaimSource | None = Field(
        default=None, description="The claim for results, checkpoints and what `dataset.uri` names."
    )
    uri: str | None = Field(
        default=None,
        pattern=r"^(s3|gs)://[^/?#]+(/.*)?$",
        max_length=2048,
        json_schema_extra=RESULTS_URI,
        description="`s3://` or `gs://` folder to which results are published and the checkpoint is copied after each "
        "epoch; without a claim everything else is on the node's disk and goes with the pod.",
    )
    path: str = Field(default="", max_length=1024, description="Path inside the volume; empty means the job's name.")
    export: list[str] = Field(
        default=[], max_length=8, description="Formats to export the best weights to: `onnx`, `torchscript`, `engine`."
    )
    keep_checkpoint: bool | None = Field(
        default=None,
        description="true keeps the last checkpoint with the results, so that another job can continue the training "
        "with `resumeFrom`. It takes about 40 bytes for each parameter of the model. Default: false.",
    )


_BATCH: JsonDict = {
    "x-kubernetes-int-or-string": True,
    RULES: [
        {
            "rule": "type(self) == int ? self >= 1 && self <= 4096 : self == 'auto'",
            "message": "batch is a number from 1 to 4096, or auto",
        }
    ],
}


_SCALAR: JsonDict = {"x-kubernetes-preserve-unknown-fields": True, "maxProperties": 0}
_ARGUMENT: JsonDict = {
    **_SCALAR,
    "maxLength": 512,
    "maxItems": 64,
    "items": {**_SCALAR, "maxLength": 32, "maxItems": 0},
}
"""A value of any type, but without depth: what nests without end would take every reader's stack.

A schema cannot bound a sum where values have no type, so it bounds each: longer lists are of numbers, texts are paths.
"""


class Training(ApiType):
    """How to train. Everything that Ultralytics' `train` takes can be given in `args`."""

    epochs: int = Field(default=100, ge=1, le=100_000, description="Number of epochs.")
    image_size: int = Field(default=640, ge=32, le=8192, description="Image size in pixels (Ultralytics' `imgsz`).")
    batch: int | Literal["auto"] = Field(
        default=16,
        json_schema_extra=_BATCH,
        description="Images per batch, or `auto`: chosen from `gpu.memory`. An attempt after OutOfMemory takes half.",
    )
    patience: int = Field(
        default=100, ge=0, description="Epochs without improvement after which training stops; 0 means never."
    )
    seed: int = Field(default=0, ge=0, description="Random seed.")
    time_limit: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="Training time, such as `8h`, over all attempts: the training then ends with the epoch that it is "
        "in, and what it has is validated, exported and published. Default: none.",
    )
    checkpoint_interval: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Epochs from one checkpoint to the next. An interrupted training repeats the epochs since the last "
        "one; a larger number writes less to the volume. Default: 1.",
    )
    args: dict[str, Any] = Field(
        default={},
        json_schema_extra={
            "additionalProperties": _ARGUMENT,
            "maxProperties": 64,
        },  # older jobs, with more, stay readable
        description="Further Ultralytics training arguments by their own names, for example `lr0: 0.001`: numbers, "
        "texts, true and false, and lists of these; at most 16 KiB as JSON.",
    )


class Validation(ApiType):
    """A split of the data set that the weights are validated on, besides the one that each epoch is validated on."""

    split: Literal["train", "val", "test"] = Field(
        description="In mode Train the best weights are validated on it after the training; `val` is validated "
        "anyway. In mode Validate it is what the weights are validated on."
    )


class LabelSelector(ApiType):
    """Labels that must all match."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={},
        max_length=16,
        json_schema_extra={RULES: [LABEL_NAMES]},
        description="Label names and values; empty matches everything.",
    )


class Gpu(ApiType):
    """What the job needs of a GPU."""

    memory: str = Field(
        pattern=r"^[1-9][0-9]{0,6}(Mi|Gi)$",
        max_length=32,
        json_schema_extra=GPU_MEMORY,
        description="GPU memory that the training needs, for example `10Gi`. "
        "Training starts only when this much, and a margin, is measured free.",
    )
    resident_selector: LabelSelector = Field(
        default=LabelSelector(),
        description="Labels of the resident pods whose GPU this job may take; empty means any resident.",
    )
    resource_claim_name: str | None = object_name(
        "ResourceClaim",
        required=False,
        description="A ResourceClaim (DRA) in the job's namespace for the GPU, which the resident's pod shares; the "
        "training pod joins it and takes no extended resource. Default: the operator's.",
    )
    sharing: Literal["Exclusive", "Coresident"] = Field(
        default="Exclusive",
        description="Exclusive: the resident is unloaded for the training. Coresident: where the training fits beside "
        "the loaded resident (measured free memory, less what the resident may still grow by), it is left loaded; "
        "elsewhere it is unloaded as for Exclusive.",
    )
    start_when: Literal["Immediately", "ResidentIdle"] = Field(
        default="Immediately",
        description="Immediately: as soon as the queue allows. ResidentIdle: only when the resident has had no request "
        "for `idleFor`; jobs behind this one may go first.",
    )
    idle_for: str | None = Field(
        default=None,
        pattern=f"^{words.DURATION}$",
        max_length=32,
        json_schema_extra=DURATION,
        description="With `startWhen: ResidentIdle`: time without a request, such as `10m`; default: the operator's.",
    )
    yield_to_resident: bool = Field(
        default=False,
        description="true bounds the resident's outage inside a long training: when the resident has had to refuse "
        "requests and has been out for the operator's maxOutage, the training stops at a checkpoint, the resident "
        "serves for a while, and the training goes on.",
    )


class MlflowTracking(ApiType):
    """An MLflow tracking server. The job is one run there, named after it, in all its attempts."""

    uri: str = Field(
        pattern=r"^https?://[^/?#@]+(/[^?#]*)?$",
        max_length=2048,
        json_schema_extra=TRACKING_URI,
        description="Address of the tracking server, for example `http://mlflow.example:5000`; credentials come from "
        "`secretName`.",
    )
    experiment: str | None = Field(
        default=None,
        min_length=1,
        max_length=250,
        description="Name of the experiment, which is created if it does not exist. Default: the job's namespace.",
    )


class WandbTracking(ApiType):
    """A project of Weights & Biases. The job is one run there, named after it, in all its attempts."""

    project: str = Field(min_length=1, max_length=128, description="Name of the project.")
    entity: str | None = Field(
        default=None, min_length=1, max_length=128, description="User or team. Default: that of the API key."
    )
    offline: bool | None = Field(
        default=None,
        description="true writes the run into the folder `wandb` of the output, for `wandb sync`, without a network. "
        "Default: false, which needs `WANDB_API_KEY` in the Secret of `secretName`.",
    )


class Tracking(ApiType):
    """Where the training is recorded besides its results. A service that is down never fails or delays a training."""

    mlflow: MlflowTracking | None = Field(default=None, description="Record the job as a run at an MLflow server.")
    tensor_board: bool | None = Field(
        default=None,
        description="true writes event files into the folder `tensorboard` of the results, for TensorBoard. Default: "
        "false.",
    )
    wandb: WandbTracking | None = Field(default=None, description="Record the job as a run of Weights & Biases.")
    secret_name: str | None = object_name(
        "Secret",
        required=False,
        description="A Secret in the job's namespace. Each of its keys is a variable for the tracking client: "
        "`MLFLOW_TRACKING_USERNAME`, `MLFLOW_TRACKING_PASSWORD`, `MLFLOW_TRACKING_TOKEN`, `WANDB_API_KEY`, ….",
    )


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
