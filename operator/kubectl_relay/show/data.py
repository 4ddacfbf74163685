"""Data for programs."""

import json
from typing import Any

import yaml

from kubectl_relay.views.data import plain


def dumped(value: Any, form: str) -> str:
    """Write a view as `json` or `yaml`."""
    if form == "json":
        return json.dumps(plain(value), indent=2)
    return str(yaml.safe_dump(plain(value), sort_keys=False)).rstrip()
