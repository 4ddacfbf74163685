"""CEL rules of `spec.mode` and `spec.resumeFrom`: they refuse fields that have no effect in a mode."""

from typing import Any

from pydantic.config import JsonDict

from gpu_relay.api.schema import RULES


def _rule(condition: str, message: str) -> dict[str, Any]:
    return {"rule": condition, "message": message}


def _in(mode: str, condition: str) -> str:
    return f"!has(self.mode) || self.mode != '{mode}' || {condition}"


_TRAINS = "!has(self.mode) || self.mode == 'Train'"
_NO_TRAINING = (
    "self.training.epochs == 100 && self.training.patience == 100 && self.training.seed == 0 && "
    "!has(self.training.timeLimit) && !has(self.training.checkpointInterval)"
)
"""The first three fields have defaults, which the API server sets before it checks rules."""

MODE_RULES: list[dict[str, Any]] = [
    _rule(
        f"{_TRAINS} || !self.model.matches('[.](yaml|yml)([?#].*)?$')",
        "this mode needs weights: name a .pt file in model, such as /output/digits/weights/best.pt",
    ),
    _rule(
        f"{_TRAINS} || ({_NO_TRAINING})",
        "this mode trains nothing: leave out training.epochs, patience, seed, timeLimit and checkpointInterval",
    ),
    _rule(
        f"{_TRAINS} || (!has(self.resumeFrom) && !has(self.output.keepCheckpoint))",
        "this mode trains nothing: leave out resumeFrom and output.keepCheckpoint",
    ),
    _rule(
        _in("Export", "(has(self.output.export) && size(self.output.export) > 0)"),
        "mode Export needs output.export: name a format, such as onnx",
    ),
    _rule(
        _in("Export", "!has(self.validation)"),
        "mode Export validates nothing: leave validation out, or use mode Validate",
    ),
    _rule(
        _in("Validate", "!has(self.output.export) || size(self.output.export) == 0"),
        "mode Validate makes no exports: leave output.export out, or use mode Export",
    ),
]
RESUME_RULES: list[dict[str, Any]] = [
    _rule(
        "!has(self.resumeFrom) || self.resumeFrom.contains('://') || has(self.output.persistentVolumeClaim)",
        "resumeFrom is a path inside output.persistentVolumeClaim: set it, or give the URI of the output",
    ),
    _rule(
        "!has(self.resumeFrom) || (self.resumeFrom != self.output.path && "
        "(!has(self.output.uri) || self.resumeFrom != self.output.uri))",
        "the output of the finished job is only read: set output to another folder than resumeFrom",
    ),
]
FINISHED_OUTPUT: JsonDict = {
    RULES: [
        _rule(
            "self.contains('://') ? self.matches('^(s3|gs)://[^/?#]+(/.*)?$') : "
            "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
            "resumeFrom is the output of a finished job: a path inside output.persistentVolumeClaim, without a leading "
            "'/' and '..', or an s3:// or gs:// folder",
        )
    ]
}
