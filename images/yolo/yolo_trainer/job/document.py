# SPDX-License-Identifier: AGPL-3.0-only
"""Read a file of the trainer's, JSON or YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from yolo_trainer.errors import ConfigInvalidError


class _Yaml(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as in YAML 1.2, and unlike YAML 1.1."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_document(path: Path, what: str, otherwise: str = "") -> Any:
    """Return the content of a file.

    Args:
        path: the file.
        what: what the file is, for messages, such as `the job file`.
        otherwise: what else the user can do if the file cannot be read.

    Raises:
        ConfigInvalidError: the file cannot be read, or is neither JSON nor YAML.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigInvalidError(f"{what} {path} cannot be read ({error.strerror}){otherwise}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalidError(f"{what} {path} is no text: {error}") from error
    try:
        return json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Yaml)  # noqa: S506 - a SafeLoader
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigInvalidError(f"{what} {path} is not valid JSON or YAML: {' '.join(str(error).split())}") from error
