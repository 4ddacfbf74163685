"""One JSON object per line on standard error. Requests are logged by route and status, never by content."""

import atexit
import json
import logging
import os
import sys
import threading
import time
import warnings
from datetime import UTC, datetime

STDERR = 2
RELEASE_SECONDS = 1.0
LONGEST_LINE = 1 << 20
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Formats a record and its `extra` fields as one JSON object."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class LibraryLimit(logging.Filter):
    """Passes `most` records of libraries in `seconds`: so that warnings about images cannot fill the log."""

    LIBRARIES = ("py.warnings", "PIL", "native")

    def __init__(self, most: int = 20, seconds: float = 60.0) -> None:
        super().__init__()
        self._most = most
        self._seconds = seconds
        self._began = float("-inf")
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log this record; the first one after a gap has the number of omitted records."""
        if not record.name.startswith(self.LIBRARIES):
            return True
        now = time.monotonic()
        if now - self._began > self._seconds:
            if self._count > self._most:
                record.left_out = self._count - self._most
            self._began, self._count = now, 0
        self._count += 1
        return self._count <= self._most


def configure(process: str, level: str) -> None:
    """Send every logger's records of at least `level`, and Python's warnings, to standard error, as `process`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    handler.addFilter(LibraryLimit())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)  # Pillow warns about images of clients
    warnings.simplefilter("always")  # any other action keeps every warning's text in memory
    for noisy in ("httpx", "urllib3", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def capture_native_output() -> None:
    """Log what C libraries of this process and of its children write to standard error, as libtiff does.

    Python's `sys.stderr` still leads there directly. Lines that are JSON, those of children, are passed on as they are.
    Call it before `configure`, and before a child is started.
    """
    own = os.dup(STDERR)
    reading, writing = os.pipe()
    os.dup2(writing, STDERR)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(own), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reader = threading.Thread(target=_pass_on, args=(reading, own), name="native output", daemon=True)
    reader.start()

    def release() -> None:
        os.dup2(own, STDERR)  # closes the pipe, so the reader comes to its end
        reader.join(RELEASE_SECONDS)

    atexit.register(release)


def _pass_on(reading: int, own: int) -> None:
    native = logging.getLogger("native")
    with os.fdopen(reading, "rb") as lines:
        while line := lines.readline(LONGEST_LINE):
            if line.startswith(b"{"):
                os.write(own, line)
            elif text := line.decode("utf-8", "backslashreplace").strip():
                native.warning("%s", text)
