"""The errors of a resident; `api/problems.py` maps them to HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass

from residency.hold import Hold


class ServiceError(Exception):
    """The request could not be served. The message is a sentence for the client."""


class BusyError(ServiceError):
    """The server's limit on requests in flight is reached."""


class TooManyRequestsError(ServiceError):
    """The limit on one client's requests in flight is reached."""


class NotEnoughMemoryError(ServiceError):
    """Free GPU memory, in MiB, does not cover what a load needs, or could not be measured."""


class LoadError(ServiceError):
    """The model could not be loaded for a reason other than memory or a hold."""


class EngineStuckError(ServiceError):
    """The engine does not let go of the GPU (for example, a process outlived SIGKILL), so its memory is not free."""


class AdmissionClosedError(ServiceError):
    """The GPU is lent out or the model is being unloaded. `hold` names the holder and the time left."""

    def __init__(self, message: str, hold: Hold | None) -> None:
        super().__init__(message)
        self.hold = hold


class AbortedError(AdmissionClosedError):
    """The model was unloaded while the request was in flight."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `where` is its path, such as `body.prompts.0.text`."""

    where: str
    message: str


class BodyError(ServiceError):
    """A request's body is invalid, as a whole or in some fields. `status` is HTTP's."""

    def __init__(self, status: int, message: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.field_errors = tuple(field_errors)
