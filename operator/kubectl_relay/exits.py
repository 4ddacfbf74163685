"""Exit codes, and the errors that carry them; docs/kubectl-relay.md has them as a table."""

from enum import IntEnum


class Exit(IntEnum):
    """What scripts may rely upon. 2 is a wrong command line, 130 is Ctrl-C."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    FORBIDDEN = 4
    NOT_INSTALLED = 5
    JOB_FAILED = 10
    JOB_DELETED = 11
    JOB_SUSPENDED = 12
    TIMED_OUT = 13
    INTERRUPTED = 130


class RelayError(Exception):
    """Ends the command with a sentence that says what to change."""

    def __init__(self, message: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.code = code
