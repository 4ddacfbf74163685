"""Long commands: what they do is said beforehand, that they still run is said every quarter of a minute."""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.errors import ClusterError

logger = logging.getLogger("cluster")
_REPORT_SECONDS = 15.0
GIB = 1 << 30
#: Disk that the local cluster never takes, in GiB.
KEEP_FREE_GIB = 15.0


def run_long(
    label: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command with its output in `log`; report the time and the last line now and then; raise with its end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    status = process.wait(_REPORT_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    logger.info("  %s: %s, now at: %s", label, duration(time.monotonic() - started), _last_line(log))
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        end = "\n".join(_lines(log)[-25:])
        raise ClusterError(f"{label} failed with status {status}; the end of {log}:\n{end}")
    logger.info("  %s: done in %s", label, duration(time.monotonic() - started))


def duration(seconds: float) -> str:
    """Write seconds as people do: `42 s`, `7 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def require_disk(folder: Path, need_gib: float, what: str) -> None:
    """Raise unless the disk of `folder` has `need_gib` GiB to give and still keeps its reserve."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < need_gib + KEEP_FREE_GIB:
        raise ClusterError(
            f"{what} needs {need_gib:.1f} GiB on the disk of {folder} and leaves {KEEP_FREE_GIB:.0f} GiB free, "
            f"but only {free:.1f} GiB are free: make room, or point GPU_RELAY_CACHE at a larger disk"
        )


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


def _last_line(log: Path) -> str:
    lines = [line for line in _lines(log) if line.strip()]
    return lines[-1].strip()[:100] if lines else "(no output yet)"
