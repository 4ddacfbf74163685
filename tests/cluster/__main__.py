"""`python -m tests.cluster`: the local Kubernetes by hand."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from tests.cluster import binaries, cleanup, runs, versions
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.runs import NodeKind

DEFAULT_NAME = "dev"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with a sentence on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (ClusterError, OSError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start a cluster that lives until `down`")
    up.add_argument(
        "--node", choices=[*NodeKind], default=NodeKind.NONE, help="how deep it goes (default: %(default)s)"
    )
    up.set_defaults(command=_up)

    down = commands.add_parser("down", help="end a cluster and whatever stale ones left behind")
    down.add_argument("--all", action="store_true", help="end every cluster of this user")
    down.set_defaults(command=_down)

    status = commands.add_parser("status", help="list the clusters of this machine")
    status.set_defaults(command=_status)

    kubeconfig = commands.add_parser("kubeconfig", help="print the path of a cluster's kubeconfig")
    kubeconfig.set_defaults(command=_kubeconfig)

    for with_name in (up, down, kubeconfig):
        with_name.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")

    build = commands.add_parser("binaries", help="find or build Kubernetes and etcd, and print where they are")
    build.set_defaults(command=_binaries)
    return parser


def _up(options: argparse.Namespace) -> None:
    cluster = Cluster(options.node, options.name)
    cluster.start()
    run = cluster.detach()
    print(f"export KUBECONFIG={run.kubeconfig}")


def _down(options: argparse.Namespace) -> None:
    cleanup.sweep()
    found = runs.all_runs() if options.all else [run for run in [runs.load(options.name)] if run]
    for run in found:
        cleanup.tear_down(run)
        print(f"cluster {run.name} is gone")


def _status(_: argparse.Namespace) -> None:
    for run in runs.all_runs():
        print(f"{run.name}: {run.state()}, node: {run.node}, kubeconfig: {run.kubeconfig}")


def _kubeconfig(options: argparse.Namespace) -> None:
    run = runs.load(options.name)
    if run is None:
        raise ClusterError(f"there is no cluster named {options.name}: start it with `python -m tests.cluster up`")
    print(run.kubeconfig)


def _binaries(_: argparse.Namespace) -> None:
    for name, path in binaries.ensure((*versions.CONTROL_PLANE, *versions.NODE)).items():
        print(f"{name}: {path}")


if __name__ == "__main__":
    sys.exit(main())
