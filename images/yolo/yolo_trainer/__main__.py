# SPDX-License-Identifier: AGPL-3.0-only
"""The command line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from yolo_trainer.errors import Reason, TrainerError
from yolo_trainer.settings import Settings
from yolo_trainer.termination import (
    DEFAULT_TERMINATION_MESSAGE_PATH,
    EXIT_CODES,
    TerminationMessage,
    write_termination_message,
)
from yolo_trainer.training.progress_bar import Terminal

log = logging.getLogger(__name__)

RUN = """\
Train a YOLO model from a job file: checks the job, its data set and the GPU's free memory, trains with Ultralytics,
keeps a checkpoint after every epoch, and resumes from it when the same job is run again. Nothing is downloaded except
what the job names by URI.
"""
PREPARE = """\
Do the part of a job that needs no GPU: check every field, fetch what is named by URI, check the data set. A later `run`
of the same job does not repeat it.
"""

LABEL = """\
Label a folder of images by words: a SAM3 server finds the objects, and the result is a data set with YOLO labels, COCO
JSON, and a list of the labels that a person should look at. A labelling that was killed continues. Only images without
labels are labelled.
"""

_CODES = "\n".join(f"  {code:<4} {reason}" for reason, code in EXIT_CODES.items())
EPILOG = f"""\
environment:
  GPU_RELAY_JOB_FILE         job file when none is named (default /etc/gpu-relay/job.json)
  BIND_ADDRESS               address of /progress and /metrics (default 0.0.0.0)
  PROGRESS_PORT              their port (default 8080; 0 takes any free one)
  TERMINATION_MESSAGE_PATH   where the termination message goes (default /dev/termination-log, where there is one)
  GPU_RELAY_SIMULATED_GPU    ledger folder of a simulated GPU, on a machine without a real one
  DATASET_LIMIT_GIB          most GiB that an archive may unpack to (default 500)
  AWS_…, GOOGLE_…            credentials and endpoint for s3:// and gs://
  TMPDIR                     folder for temporary files, which must be writable (default /tmp)

exit codes:
{_CODES}
"""


def main() -> None:
    """Run the command line, and exit with the outcome's code."""
    options = _parser().parse_args()
    terminal = Terminal(sys.stderr) if sys.stderr.isatty() else None
    log_format = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=log_format, handlers=[logging.StreamHandler(terminal or sys.stderr)])
    if options.command == "label":
        sys.exit(_label(options.label_file))
    overrides = {"GPU_RELAY_JOB_FILE": options.job_file} if options.job_file else {}
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(f"{details['loc'][0]}: {details['msg']}" for details in error.errors())
        termination = TerminationMessage(Reason.CONFIG_INVALID, f"the environment is not valid: {problems}")
        write_termination_message(
            termination, Path(os.environ.get("TERMINATION_MESSAGE_PATH", DEFAULT_TERMINATION_MESSAGE_PATH))
        )
        sys.exit(termination.exit_code)
    # Imported late, so that --help answers at once.
    from yolo_trainer.run import Attempt

    if options.command == "prepare":
        sys.exit(Attempt(settings).prepare().exit_code)
    show = terminal.show if terminal else None
    termination = Attempt(settings, with_preflight=options.preflight, show=show).run()
    if terminal:
        terminal.close()
    sys.exit(termination.exit_code)


def _label(file: Path) -> int:
    from yolo_trainer.labelling.label import label
    from yolo_trainer.labelling.request import load_request

    try:
        done = label(load_request(file))
    except TrainerError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says what to change
        return EXIT_CODES[error.reason]
    log.info("Labelled: %s", done)
    return EXIT_CODES[Reason.COMPLETED]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="yolo-trainer", description="The training program of GPU Relay.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    layout = argparse.RawDescriptionHelpFormatter
    run = commands.add_parser("run", help="train one job", description=RUN, epilog=EPILOG, formatter_class=layout)
    ahead = commands.add_parser(
        "prepare", help="check and fetch, without a GPU", description=PREPARE, epilog=EPILOG, formatter_class=layout
    )
    words = commands.add_parser("label", help="make a data set from images and words", description=LABEL)
    words.add_argument("label_file", type=Path, metavar="LABEL_FILE", help="what to label (JSON or YAML)")
    for command in (run, ahead):
        command.add_argument("job_file", nargs="?", type=Path, metavar="JOB_FILE", help="the job file (JSON or YAML)")
    run.add_argument(
        "--no-preflight",
        dest="preflight",
        action="store_false",
        help="do not check the GPU's free memory, and do not cap the memory of the training run, as a plain "
        "`yolo train` does: shows what happens without GPU Relay",
    )
    return parser


if __name__ == "__main__":
    main()
