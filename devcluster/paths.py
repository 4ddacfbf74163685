"""Where the local cluster keeps its files: all of them in one cache folder outside the checkout.

<cache>/bin/<what>-<version>-<hash>/   built binaries
<cache>/go/                            Go itself, where the machine has none
<cache>/run/<name>/                    one running cluster: certificates, logs, etcd's data; removed with it
<cache>/containerd/                    images of the kubelet's node, kept from run to run
<cache>/buildah/                       layers of built images
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
GO_SOURCES = Path(__file__).resolve().parent / "go"


def cache() -> Path:
    """Return the cache folder: `$GPU_RELAY_CACHE`, else `$XDG_CACHE_HOME/gpu-relay`, else `~/.cache/gpu-relay`."""
    if chosen := os.environ.get("GPU_RELAY_CACHE"):
        return Path(chosen).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().absolute() / "gpu-relay"
    return Path.home() / ".cache" / "gpu-relay"


def runs() -> Path:
    """Return the folder that holds one folder for each running cluster."""
    return cache() / "run"
