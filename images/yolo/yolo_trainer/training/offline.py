# SPDX-License-Identifier: AGPL-3.0-only
"""Make Ultralytics work without a network, as a non-root user, on a read-only root file system.

Ultralytics reads its environment when it is imported, so `configure_environment` must run before that.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from yolo_trainer.errors import ConfigInvalidError
from yolo_trainer.text import without_colours

FONTS = ("Arial.ttf", "Arial.Unicode.ttf")
"""What Ultralytics labels plots with, and would download."""
INTEGRATIONS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
"""Ultralytics' own callbacks for tracking services, some of which are on where their package is installed."""
PLATFORM_KEY = "ULTRALYTICS_API_KEY"
"""Environment variable with which Ultralytics streams a run to its own platform."""
FONT_CACHE = "MATPLOTLIB_FONT_CACHE"
"""Environment variable of the image: where its matplotlib has listed the fonts, which takes seconds."""


def configure_environment() -> Path:
    """Set environment variables, and return a scratch folder that can be written.

    Raises:
        ConfigInvalidError: no temporary folder can be written.

    """
    try:
        scratch = Path(tempfile.mkdtemp(prefix="yolo-trainer-"))
    except OSError as error:
        raise ConfigInvalidError(
            "no temporary folder can be written: mount an emptyDir at /tmp, or set TMPDIR to a folder that can"
        ) from error
    os.environ |= {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(scratch),
        # Else it reports each use to Microsoft: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
        "ORT_DISABLE_TELEMETRY": "1",
    }
    os.environ.pop(PLATFORM_KEY, None)
    if "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = str(_font_cache(scratch / "matplotlib"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(scratch / "inductor"))
    _place_fonts(scratch / "Ultralytics")
    return scratch


def import_ultralytics() -> None:
    """Import Ultralytics, redirect its log, and replace its functions that download."""
    from ultralytics.utils import LOGGER, SETTINGS, downloads

    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
    LOGGER.addFilter(_without_colours)
    LOGGER.propagate = True
    LOGGER.setLevel(logging.WARNING)
    SETTINGS.update({"sync": False, "api_key": "", **dict.fromkeys(INTEGRATIONS, False)})
    downloads.safe_download = _refuse
    downloads.get_github_assets = _no_assets


def _without_colours(record: logging.LogRecord) -> bool:
    """Keep every record, as plain text."""
    record.msg, record.args = without_colours(record.getMessage()), ()
    return True


def _refuse(url: object = None, *_args: Any, **_settings: Any) -> NoReturn:
    # What Ultralytics expects where there is no network, for example in its check of mixed precision.
    raise ConnectionError(f"the trainer never downloads anything; not {url}")


def _no_assets(*_args: Any, **_settings: Any) -> tuple[str, list[str]]:
    return "", []


def _font_cache(folder: Path) -> Path:
    """Return a folder that matplotlib can write, with the font cache of the image, if it has one."""
    ready = os.environ.get(FONT_CACHE)
    if ready and Path(ready).is_dir():
        shutil.copytree(ready, folder)
    else:
        folder.mkdir()
    return folder


def _place_fonts(folder: Path) -> None:
    """Put a free font from matplotlib where Ultralytics looks for Arial."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return
    free_font = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FONTS:
        shutil.copyfile(free_font, folder / name)
