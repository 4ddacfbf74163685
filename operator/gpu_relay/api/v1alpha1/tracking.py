"""The types of `spec.tracking`."""

from pydantic import Field

from gpu_relay.api.schema import ApiType, object_name
from gpu_relay.api.value_rules import TRACKING_URI


class MlflowTracking(ApiType):
    """An MLflow tracking server. All attempts of the job are one run there, with the job's name."""

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
        description="Name of the experiment; it is created if it does not exist. Default: the job's namespace.",
    )


class WandbTracking(ApiType):
    """A project of Weights & Biases. All attempts of the job are one run there, with the job's name."""

    project: str = Field(min_length=1, max_length=128, description="Name of the project.")
    entity: str | None = Field(
        default=None, min_length=1, max_length=128, description="User or team. Default: that of the API key."
    )
    offline: bool | None = Field(
        default=None,
        description="true writes the run into the folder `wandb` of the output, for `wandb sync`, without a network. "
        "Default: false; this needs `WANDB_API_KEY` in the Secret of `secretName`.",
    )


class Tracking(ApiType):
    """Experiment tracking. A service that is down never fails or delays a training run."""

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
