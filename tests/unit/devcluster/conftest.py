import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own, whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gr-"))
    monkeypatch.setenv("GPU_RELAY_CACHE", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
