# SPDX-License-Identifier: AGPL-3.0-only
"""The `tracking` section of the job file: where a training job is recorded besides its results."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from yolo_trainer.suggestions import suggestion

SCHEMES = ("http", "https")


class _Section(BaseModel):
    """camelCase in the file, snake_case here; unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Mlflow(_Section):
    """An MLflow tracking server, and the experiment that has the run; by default the job's namespace names it."""

    uri: str
    experiment: str | None = Field(default=None, min_length=1)

    @field_validator("uri")
    @classmethod
    def _reachable(cls, uri: str) -> str:
        try:
            parts = urlsplit(uri)
            host = parts.hostname
        except ValueError as error:
            raise ValueError(f"'{uri}' is not a URI: {error}") from error
        if parts.scheme not in SCHEMES:
            hint = suggestion(parts.scheme, SCHEMES)
            raise ValueError(
                f"'{uri}' is not the address of a tracking server{hint}: write for example http://mlflow:5000"
            )
        if not host:
            raise ValueError(f"'{uri}' has no host: write for example http://mlflow:5000")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "the address contains credentials: give them as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment (tracking.secretName of the job)"
            )
        return uri.rstrip("/")


class Wandb(_Section):
    """A project of Weights & Biases; `offline` writes the run into the output folder, for `wandb sync`."""

    project: str = Field(min_length=1, max_length=128)
    entity: str | None = Field(default=None, min_length=1)
    offline: bool = False


class Tracking(_Section):
    """Where a training job is recorded."""

    mlflow: Mlflow | None = None
    tensor_board: bool = False
    wandb: Wandb | None = None
