"""What GitOps tools make of our objects: kstatus by its Go library, Argo CD's health by Lua, an applier that prunes."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lupa
import yaml

from devcluster import Cluster, binaries
from devcluster.paths import REPOSITORY

Object = dict[str, Any]
GITOPS = REPOSITORY / "manifests" / "gitops"
CUSTOMIZATION = GITOPS / "argocd" / "resource_customizations" / "gpurelay.dev" / "YoloTrainingJob"


def kstatus(objects: Iterable[Object]) -> list[str]:
    """Return the status of each by `sigs.k8s.io/cli-utils/pkg/kstatus`: InProgress, Current, Failed, Terminating."""
    return [answer["status"] for answer in _ask("kstatus", objects)]


def misfits(objects: Iterable[Object]) -> list[str]:
    """Return why an object does not decode, strictly, into the Go type of its kind; "" for each that does."""
    return [str(answer) for answer in _ask("decode", objects)]


def rendered(chart: Path, namespace: str, values: Object) -> list[Object]:
    """Return the objects of a Helm chart, as `helm template --include-crds` prints them.

    Raise AssertionError with Helm's message if it refuses the values.
    """
    texts = _ask("render", [{"chart": str(chart), "namespace": namespace, "values": values}])[0]
    crds = [file.read_text() for file in sorted(chart.glob("crds/*.yaml"))]
    manifests = [text for path, text in texts.items() if path.endswith(".yaml")]
    return [item for text in (*crds, *manifests) for item in yaml.safe_load_all(text) if item]


def _ask(question: str, objects: Iterable[Object]) -> list[Any]:
    program = binaries.ensure(["gitops"])["gitops"]
    text = json.dumps(list(objects))
    done = subprocess.run([program, question], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def argo_health(item: Object) -> Object:
    """Return Argo CD's health of an object: what health.lua returns, in a Lua without access to Python."""
    runtime = lupa.LuaRuntime(register_eval=False, register_builtins=False)
    runtime.globals().obj = runtime.table_from(item, recursive=True)
    health = runtime.execute((CUSTOMIZATION / "health.lua").read_text())
    return {"status": health.status, "message": health.message}


class Repository:
    """A Git repository with manifests, and what brings its newest commit into a namespace."""

    def __init__(self, folder: Path, cluster: Cluster, namespace: str) -> None:
        self._folder = folder
        self._cluster = cluster
        self._namespace = namespace
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self, **manifests: Object) -> None:
        """Commit these objects, by file name, in place of all that were there."""
        for old in self._folder.glob("*.yaml"):
            old.unlink()
        for name, manifest in manifests.items():
            (self._folder / f"{name}.yaml").write_text(yaml.safe_dump(manifest))
        self._git("add", "--all")
        self._git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message=change")

    def sync(self) -> None:
        """Apply the newest commit on the server side under a name of its own, and prune what it no longer has."""
        files = self._git("ls-tree", "--name-only", "HEAD").split()
        manifests = "\n---\n".join(self._git("show", f"HEAD:{name}") for name in files)
        self._cluster.kubectl(
            "apply", "--server-side", "--field-manager=applier", "--prune", "--applyset=applier",
            f"--namespace={self._namespace}", "--filename=-",
            stdin=manifests, environment={"KUBECTL_APPLYSET": "true"},
        )  # fmt: skip

    def _git(self, *arguments: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-C", str(self._folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
