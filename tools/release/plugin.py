"""`kubectl relay` for krew, kubectl's plugin manager: an archive with the wheel, and the manifest that names it."""

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import yaml

ARCHIVE = "kubectl-relay.tar.gz"
MANIFEST = "relay.yaml"
"""krew requires the plugin's name as the name of the file."""
_COMMAND = "kubectl-relay"
_DESCRIPTION = """\
For GPU Relay, which shares GPUs between inference servers and training jobs. Shows all jobs, the owner of each GPU,
why a job waits and what would change it, a job's progress, its logs, and the history of each GPU.
"""
_SCRIPT = """\
#!/bin/sh
# Runs the wheel beside this file in an environment of its own, which uv (or pipx) makes once and keeps.
set -eu
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
package="gpu-relay[cli] @ file://$here/{wheel}"
if command -v uv >/dev/null; then
  exec uv tool run --quiet --from "$package" kubectl-relay "$@"
elif command -v pipx >/dev/null; then
  exec pipx run --spec "$package" kubectl-relay "$@"
fi
echo "kubectl relay needs uv (https://docs.astral.sh/uv) or pipx on PATH; or run: pip install 'gpu-relay[cli]'" >&2
exit 1
"""


def krew_plugin(root: Path, wheel: Path, version: str, downloads: str, folder: Path) -> None:
    """Write the archive and its manifest; `downloads` is the URL of the folder that users download the archive from."""
    script = _SCRIPT.format(wheel=wheel.name).encode()
    files = {_COMMAND: (script, 0o755), wheel.name: (wheel.read_bytes(), 0o644)}
    files["LICENSE"] = (root / "LICENSE").read_bytes(), 0o644
    archive = _archive(files)
    (folder / ARCHIVE).write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    manifest = _manifest(version, f"{downloads}/{ARCHIVE}", digest)
    (folder / MANIFEST).write_text(yaml.safe_dump(manifest, sort_keys=False, width=1000))


def _archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    """Return an archive of files (content and mode by name), the same bytes each time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _manifest(version: str, uri: str, digest: str) -> dict[str, Any]:
    systems = {"matchExpressions": [{"key": "os", "operator": "In", "values": ["linux", "darwin"]}]}
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "relay"},
        "spec": {
            "version": f"v{version}",
            "homepage": uri.partition("/releases/")[0],
            "shortDescription": "Show who owns shared GPUs and why training waits",
            "description": _DESCRIPTION,
            "caveats": "It needs Python 3.11 or newer, and uv or pipx. The first command installs dependencies.",
            "platforms": [{"selector": systems, "uri": uri, "sha256": digest, "bin": _COMMAND}],
        },
    }
