"""The report on a failed step."""

from collections.abc import Callable
from pathlib import Path

from demo import manifest
from demo.console import Timeline
from demo.outputs import FAILURE
from devcluster import ClusterError

_TAIL = 15
_OPERATOR_LOG = ("-n", "gpu-relay", "logs", "deployment/gpu-relay", "--tail=1000")
_LOOKS: dict[str, tuple[str, ...]] = {
    "the pods": ("get", "pods", "-A", "-o", "wide"),
    "the job": ("-n", manifest.NAMESPACE, "describe", "ytj", manifest.NAME),
    "the operator's log": _OPERATOR_LOG,
    "SAM3's log": ("-n", "gpu-relay", "logs", "deployment/sam3", "--tail=1000"),
    "the training pods": ("-n", manifest.NAMESPACE, "describe", "pods"),
    "the training pods' logs": (
        "-n",
        manifest.NAMESPACE,
        "logs",
        "-l",
        "app.kubernetes.io/name=yolo-trainer",
        "--tail=1000",
    ),
    "the relay's pods": ("-n", "gpu-relay", "describe", "pods"),
}
_SHOWN = ("the pods", "the job", "the operator's log")


def report(kubectl: Callable[..., str], timeline: Timeline, output: Path) -> None:
    """Print the most useful outputs, shortened, and write all of them to failure.txt."""
    seen = {what: _look(kubectl, command) for what, command in _LOOKS.items()}
    for what in _SHOWN:
        command, text = f"kubectl {' '.join(_LOOKS[what])}", seen[what].rstrip().splitlines()
        cut = f", its last {_TAIL} lines" if len(text) > _TAIL else ""
        timeline.note(f"{what} ({command}{cut}):", "look")
        timeline.block("\n".join(text[-_TAIL:]) or "(nothing)")
    file = output / FAILURE
    parts = (f"$ kubectl {' '.join(_LOOKS[what])}\n{text.rstrip()}\n" for what, text in seen.items())
    file.write_text("\n".join(parts))
    timeline.note(f"all of it, with SAM3's and the trainer's logs: {file}", "look")


def _look(kubectl: Callable[..., str], command: tuple[str, ...]) -> str:
    try:
        return kubectl(*command, timeout=30)
    except ClusterError as error:
        return str(error)
