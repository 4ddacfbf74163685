"""Refusals for the sake of the GPU: it is lent out, or the model is being unloaded."""

from sam3_server.errors import ServiceError
from sam3_server.residency.hold import Hold


class AdmissionClosedError(ServiceError):
    """The GPU is lent out or the model is being unloaded. `hold` names the holder and the time left."""

    def __init__(self, message: str, hold: Hold | None) -> None:
        super().__init__(message)
        self.hold = hold


class AbortedError(AdmissionClosedError):
    """The model was unloaded while the request was in flight."""
