"""Check the length of modules: `python -m tools.module_length` prints those of 300 lines or more."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tools.files import list_files

LIMIT = 300
"""A module has fewer lines than this, comments and empty lines included."""

EXCEPTIONS: dict[str, str] = {}
"""Path of a longer module, and the reason why it cannot be split."""

NOT_YET = (
    "devcluster/scripted/world.py",
    "images/yolo/yolo_trainer/job.py",
    "images/yolo/yolo_trainer/run.py",
    "operator/gpu_relay/api/v1alpha1.py",
    "operator/gpu_relay/controllers/turn_controller.py",
    "operator/gpu_relay/pods/pod_builder.py",
    "tests/controlplane/test_gpu_changes.py",
    "tests/controlplane/test_kubectl_relay.py",
    "tests/controlplane/test_process_node.py",
    "tests/controlplane/test_tenants_policies.py",
    "tests/faults/test_yolo_tracking.py",
    "tests/property/test_hostile_answers.py",
    "tests/property/test_turn_model.py",
    "tests/unit/operator/test_operator_life.py",
)
"""Longer modules that are still to be split: to be removed from this list, one after the other."""


def check(root: Path, paths: Iterable[str]) -> list[str]:
    """Return a sentence for each of these modules below a folder that is too long."""
    lengths = {path: len((root / path).read_text(encoding="utf-8").splitlines()) for path in paths}
    return [
        f"{path}: {length} lines: split it by purpose into modules of fewer than {LIMIT}"
        for path, length in lengths.items()
        if length >= LIMIT
    ]


def main() -> int:
    """Print the modules that are too long, but for EXCEPTIONS and NOT_YET; return 1 if there is any."""
    root = Path(__file__).parents[1]
    known = {*EXCEPTIONS, *NOT_YET}
    modules = [path for path in list_files(root) if path.endswith((".js", ".py")) and path not in known]
    sentences = check(root, modules)
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
