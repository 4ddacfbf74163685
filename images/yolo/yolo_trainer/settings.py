# SPDX-License-Identifier: AGPL-3.0-only
"""The trainer's environment variables; the job's own settings are in the job file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from yolo_trainer.termination import DEFAULT_TERMINATION_MESSAGE_PATH


class Settings(BaseSettings):
    """Environment variables. Each has a default that fits the pod which the operator builds."""

    model_config = SettingsConfigDict(frozen=True)

    job_file: Path = Field(default=Path("/etc/gpu-relay/job.json"), validation_alias="GPU_RELAY_JOB_FILE")
    """The job file (docs/contracts.md)."""

    termination_message_path: Path = Field(
        default=DEFAULT_TERMINATION_MESSAGE_PATH, validation_alias="TERMINATION_MESSAGE_PATH"
    )
    """Where the termination message is written; the default only if the kubelet has created that file."""

    bind_address: str = Field(default="0.0.0.0", validation_alias="BIND_ADDRESS")
    """Address of `/progress` and `/metrics`."""

    progress_port: int = Field(default=8080, ge=0, le=65535, validation_alias="PROGRESS_PORT")
    """Their port; 0 takes any free one."""

    dataset_limit_gib: int = Field(default=500, ge=1, validation_alias="DATASET_LIMIT_GIB")
    """Largest size that an archive may unpack to."""
