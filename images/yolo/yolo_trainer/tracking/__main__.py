# SPDX-License-Identifier: AGPL-3.0-only
"""The program of a recorder; the trainer starts it."""

from __future__ import annotations

import logging
import os
import sys

from yolo_trainer.tracking.protocol import Answer, TrackedJob
from yolo_trainer.tracking.recorder import Inbox, Recorder, follow

_NICENESS = 10


def main() -> None:
    """Check the settings (`check`) or record a training (`follow`) until the trainer says that it has ended."""
    os.nice(_NICENESS)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("yolo_trainer").setLevel(logging.INFO)
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print

    def answer(what: Answer) -> None:
        answers.write(f"{what.model_dump_json()}\n")
        answers.flush()

    recorder = _recorder(TrackedJob.model_validate_json(sys.stdin.readline()))
    if sys.argv[1] == "check":
        answer(recorder.check())
    else:
        follow(recorder, Inbox(sys.stdin), answer)
    os._exit(0)  # an upload may still hang


def _recorder(subject: TrackedJob) -> Recorder:
    """Return the recorder of the one service that the subject names."""
    if subject.mlflow is not None:
        from yolo_trainer.tracking.mlflow import MlflowRecorder

        return MlflowRecorder(subject, subject.mlflow)
    assert subject.wandb is not None, "a recorder has a service"
    from yolo_trainer.tracking.wandb import WandbRecorder

    return WandbRecorder(subject, subject.wandb)


if __name__ == "__main__":
    main()
