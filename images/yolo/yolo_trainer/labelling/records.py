# SPDX-License-Identifier: AGPL-3.0-only
"""One file for each labelled image, so that a labelling that was killed continues with the others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from yolo_trainer.labelling.findings import ImageFindings
from yolo_trainer.storage.atomic_file import write_atomically

FOLDER = "records"


class Records:
    """The findings of one request, by image."""

    def __init__(self, output: Path, fingerprint: str) -> None:
        self._folder = output / FOLDER / fingerprint
        self._folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str, file: Path) -> ImageFindings | None:
        """Return what was found on an image before; None if it has changed since, or was never asked for."""
        try:
            content = json.loads(self._path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return ImageFindings.read(content["findings"]) if content["file"] == _version(file) else None

    def add(self, findings: ImageFindings, file: Path) -> None:
        """Keep what was found on an image."""
        content = {"file": _version(file), "findings": findings.written()}
        write_atomically(self._path(findings.image), json.dumps(content).encode())

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _version(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]
