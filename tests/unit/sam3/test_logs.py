"""Standard error has only JSON, from every library."""

import json
import logging
import subprocess
import sys
from typing import Any

from residency.logs import LibraryLimit

PROGRAM = """
import io, logging, os, subprocess, sys, warnings
from PIL import Image
from sam3_server.intake import image_decoder
from residency import logs

logs.capture_native_output()
logs.configure("server", "info")
logging.getLogger("own").info("begins")
os.write(2, b"from C\\n")
warnings.warn("from Python")
subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child\\\\n{\\"process\\": \\"worker\\"}\\\\n')"])
noise = io.BytesIO()
Image.effect_noise((40, 40), 80).save(noise, "TIFF", compression="tiff_lzw")
data = noise.getvalue()
try:
    image_decoder.decode(data[:8] + bytes(900) + data[908:], 10_000)
except image_decoder.ImageError:
    logging.getLogger("own").info("refused")
"""


def lines(program: str) -> list[dict[str, Any]]:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_each_line_is_json_whichever_library_wrote_it() -> None:
    logged = lines(PROGRAM)
    texts = {(line.get("logger"), line.get("message", "").split(": ")[-1].split("\n")[0]) for line in logged}
    assert {("own", "begins"), ("own", "refused"), ("native", "from C"), ("native", "from a child")} <= texts
    assert ("py.warnings", "from Python") in texts
    assert {"process": "worker"} in logged, "a child's own lines are passed on"
    assert len([line for line in logged if line.get("logger") == "native"]) > 2, "libtiff wrote something"


def record(name: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, "text", None, None)


def test_libraries_cannot_fill_the_log() -> None:
    limit = LibraryLimit(most=3, seconds=3600.0)
    passed = [limit.filter(record("PIL.TiffImagePlugin")) for _ in range(10)]
    assert passed == [True] * 3 + [False] * 7
    assert not limit.filter(record("py.warnings"))
    assert limit.filter(record("residency.coordinator"))


def test_what_was_left_out_is_counted() -> None:
    limit = LibraryLimit(most=2, seconds=-1.0)
    assert all(limit.filter(record("native")) for _ in range(3)), "each of them begins a period"
    limit = LibraryLimit(most=2, seconds=3600.0)
    for _ in range(5):
        limit.filter(record("native"))
    limit._seconds = -1.0
    first = record("native")
    assert limit.filter(first)
    assert first.__dict__["left_out"] == 3
