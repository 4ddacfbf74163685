"""The errors that rooms share; `api/problems.py` maps them to HTTP, `residency/errors.py` has those about holds."""

from collections.abc import Sequence
from dataclasses import dataclass


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


class WorkerGoneError(ServiceError):
    """The worker process ended, or was ended because it did not answer in time."""


class WorkerStuckError(ServiceError):
    """The worker process outlived SIGKILL (an uninterruptible driver call), so its memory is not free."""


class InferenceError(ServiceError):
    """The worker could not serve this request; it keeps running."""


class PromptError(ServiceError):
    """A prompt has more tokens than the text encoder accepts, or its box is not on the image."""


class TooMuchWorkError(ServiceError):
    """The request needs more work than is allowed. The message says what to change."""


class ImageTooLargeError(ServiceError):
    """The image has more bytes or pixels than this server accepts."""


class ImageError(ServiceError):
    """The image cannot be decoded."""


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
