"""The errors that rooms share, besides those of the kit (`residency/errors.py`)."""

from residency.errors import ServiceError


class WorkerGoneError(ServiceError):
    """The worker process ended, or was ended because it did not answer in time."""


class InferenceError(ServiceError):
    """The worker could not serve this request; it keeps running."""


class PromptError(ServiceError):
    """A prompt has more tokens than the text encoder accepts, or its box or point is not on the image."""


class TooMuchWorkError(ServiceError):
    """The request needs more work than is allowed. The message says what to change."""


class ImageTooLargeError(ServiceError):
    """The image has more bytes or pixels than this server accepts."""


class ImageError(ServiceError):
    """The image cannot be decoded."""


class UnknownImageError(ServiceError):
    """The server has no features of the image that a request names by its id."""


class NoTrackerError(ServiceError):
    """The model has no tracker weights, which single objects need. The message says what to change."""
