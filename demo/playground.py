"""`python -m demo.playground`: GPU Relay on a local Kubernetes, to try by hand (docs/try-it.md).

`up` starts a cluster with operator, SAM3 and a small data set, which stays; `env` prints what a shell needs to use it;
`python -m devcluster down --name try` ends it.
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.console import Timeline
from demo.recipe import DEMO
from demo.sam3 import photograph
from demo.stage import Stage
from devcluster import Cluster, ClusterError, NodeKind, choose, runs
from devcluster.deploy import resident_address
from devcluster.images import INSTALLED
from devcluster.kubectl import Kubectl
from devcluster.paths import REPOSITORY

DEFAULT_NAME = "try"
_DESCRIPTION = "GPU Relay on a local Kubernetes, to try by hand: docs/try-it.md."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m demo.playground", description=_DESCRIPTION)
    parser.add_argument("command", choices=["up", "env"], help="start it, or print what a shell needs to use it")
    parser.add_argument("--name", default=DEFAULT_NAME, help="the cluster's name (default: %(default)s)")
    options = parser.parse_args(arguments)
    commands: dict[str, Callable[[str], None]] = {"up": up, "env": env}
    try:
        commands[options.command](options.name)
    except (ClusterError, OSError, AssertionError) as error:
        print(f"playground: {error}", file=sys.stderr)
        return 1
    return 0


def up(name: str) -> None:
    """Start a cluster that lives on, with the relay in it; raises ClusterError when it cannot be had."""
    if (run := runs.load(name)) and run.state() is not runs.State.STALE:
        raise ClusterError(f"it is there already ({run.folder}): use it, or end it with `{make('try-down', name)}`")
    choice = choose.choose(os.environ.get(choose.VARIABLE), choose.look())
    if choice.node is NodeKind.NONE:
        raise ClusterError(f"a node that runs pods is needed: {choice}")
    timeline = Timeline()
    timeline.note(str(choice), "setup")
    cluster = Cluster(choice.node, name)
    with timeline.showing(logging.getLogger("cluster")):
        cluster.prepare(INSTALLED)
        with cluster:
            Stage(cluster, timeline).deploy(DEMO)
            _install_plugin(_programs(cluster.run.folder))
            cluster.detach()
    shell = make("--silent try-env", name)
    timeline.ok(f'It is up. Next:  eval "$({shell})"')


def _programs(run: Path) -> Path:
    """Return the folder of a cluster's own programs."""
    return run / "bin"


def _install_plugin(folder: Path) -> None:
    """Write `kubectl-relay`, which kubectl finds as `kubectl relay`, of this checkout."""
    folder.mkdir(exist_ok=True)
    plugin = folder / "kubectl-relay"
    python, path = shlex.quote(sys.executable), shlex.quote(str(REPOSITORY / "operator"))
    plugin.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {python} -m kubectl_relay "$@"\n')
    plugin.chmod(0o755)


def make(target: str, name: str) -> str:
    """Return the `make` command for a cluster of this name."""
    return f"make {target}" if name == DEFAULT_NAME else f"make {target} TRY={shlex.quote(name)}"


def env(name: str) -> None:
    """Print kubectl's cluster and place, SAM3's address and a photograph as a shell reads them."""
    run = runs.load(name)
    if run is None or run.state() is not runs.State.RUNNING:
        raise ClusterError(f"nothing is there to be used: start it with `{make('try', name)}`")
    variables = {
        "KUBECONFIG": str(run.kubeconfig),
        "PATH": f"{_programs(run.folder)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SAM3": resident_address(Kubectl(run.kubeconfig)),
        "PHOTO": str(photograph()),
    }
    for key, value in variables.items():
        print(f"export {key}={shlex.quote(value)}")


if __name__ == "__main__":
    sys.exit(main())
