# SPDX-License-Identifier: AGPL-3.0-only
"""Errors that end a run, each with its reason; the message is a sentence for the job's owner."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Reason(StrEnum):
    """Why the process ended."""

    COMPLETED = "Completed"
    INTERRUPTED = "Interrupted"
    OUT_OF_MEMORY = "OutOfMemory"
    GPU_MEMORY_UNAVAILABLE = "GpuMemoryUnavailable"
    WRONG_GPU = "WrongGpu"
    DATASET_INVALID = "DatasetInvalid"
    CONFIG_INVALID = "ConfigInvalid"
    ERROR = "Error"


class TrainerError(Exception):
    """Something ended the attempt; the message is a sentence for the job's owner."""

    reason = Reason.ERROR


class ConfigInvalidError(TrainerError):
    """The job asks for something impossible; only its owner can change that."""

    reason = Reason.CONFIG_INVALID


_MESSAGE_LIMIT = 900
"""Characters of a list of problems: the operator keeps 1,024 of a message, some of them its own."""


def in_one_sentence(problems: Sequence[str]) -> str:
    """Join problems into one sentence, and count those that do not fit, so that no problem is cut in two."""
    joined = ""
    for number, problem in enumerate(problems):
        longer = f"{joined}; {problem}" if joined else problem
        left = len(problems) - number
        if joined and len(longer) > _MESSAGE_LIMIT:
            return f"{joined}; and {left} more"
        joined = longer
    return joined


class DatasetInvalidError(TrainerError):
    """The data set cannot be trained on as it is."""

    reason = Reason.DATASET_INVALID


class WrongGpuError(TrainerError):
    """The process sees another GPU than the job was assigned."""

    reason = Reason.WRONG_GPU


class GpuMemoryUnavailableError(TrainerError):
    """The GPU has less free memory than the job was granted."""

    reason = Reason.GPU_MEMORY_UNAVAILABLE
