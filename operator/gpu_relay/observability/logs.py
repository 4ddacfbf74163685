"""Logs as lines of text or as JSON, each entry with the GPU, fence and job that it is about."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

FIELDS = ("gpu", "fence", "job")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=_NOTHING)


def task_is_about(**fields: str | int) -> None:
    """Add these of the `FIELDS` to every later entry of this task, and of the tasks that it starts."""
    _about.set({**_about.get(), **fields})


@contextmanager
def about(**fields: str | int) -> Iterator[None]:
    """Add these of the `FIELDS` to every entry that is logged within the context."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def to_stderr(log_format: str, *, verbose: bool) -> None:
    """Send logs to stderr, as `json` or `text`; with `verbose`, every reconcile of every GPU is logged."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for noisy in ("kopf", "kubernetes", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, and what the entry is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_about.get(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`12:30:01 I [gpu-5f0c fence 3 vision/digits] message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(about)s%(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = _about.get()
        shown = (
            f"{name} {fields[name]}" if name == "fence" else str(fields[name]) for name in FIELDS if name in fields
        )
        context = " ".join(shown)
        record.about = f"[{context}] " if context else ""
        return super().format(record)
