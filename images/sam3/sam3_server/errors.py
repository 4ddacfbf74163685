"""The errors that rooms share; `api/problems.py` maps them to HTTP, `residency/errors.py` has those about holds."""

from collections.abc import Sequence
from dataclasses import dataclass


class ServiceError(Exception):
    """A request could not be served. The message is a sentence for the client."""


class BusyError(ServiceError):
    """As many requests are in flight as the server takes."""


class TooManyRequestsError(ServiceError):
    """As many requests of one client are in flight as the server takes from each."""


class NotEnoughMemoryError(ServiceError):
    """Free GPU memory, in MiB, does not cover what a load needs, or could not be measured."""


class LoadError(ServiceError):
    """The model could not be loaded for a reason other than memory or a hold."""


class WorkerGoneError(ServiceError):
    """The worker process ended, or was ended because it did not answer in time."""


class WorkerStuckError(ServiceError):
    """The worker process outlived SIGKILL (an uninterruptible driver call), so its memory is not free."""


class InferenceError(ServiceError):
    """The worker lives but could not serve this request."""


class PromptError(ServiceError):
    """A prompt is longer than the text encoder takes."""


class TooMuchWorkError(ServiceError):
    """The request asks for more work than one request may take. The message says what to change."""


class ImageTooLargeError(ServiceError):
    """The image has more bytes or pixels than this server takes."""


class ImageError(ServiceError):
    """What was sent is no image that can be read."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field of a request; `where` is its path, such as `body.prompts.0.text`."""

    where: str
    message: str


class BodyError(ServiceError):
    """A request's body cannot be used: for all of it, or for some fields. `status` is HTTP's."""

    def __init__(self, status: int, message: str, field_errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.field_errors = tuple(field_errors)
