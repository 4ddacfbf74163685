"""`python -m devcluster`: the command line of the local Kubernetes."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from devcluster import binaries, choose, cleanup, image_import, images, paths, runs
from devcluster.cluster import Cluster
from devcluster.containerd import Containerd
from devcluster.errors import ClusterError
from devcluster.image_builder import Builder
from devcluster.runs import NodeKind, Run

DEFAULT_NAME = "dev"
_ENVIRONMENT = """\
environment:
  NODE                 auto (default), none, process or kubelet: how deep `up` goes
  GPU_RELAY_CACHE      where everything is kept (default: $XDG_CACHE_HOME/gpu-relay or ~/.cache/gpu-relay)
  KUBEBUILDER_ASSETS   a folder with Kubernetes and etcd binaries to use instead of building them
  GPU_RELAY_CLUSTER_LOGS  a folder to which every cluster's logs are copied at its end
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 with a sentence on standard error."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ClusterError, OSError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster",
        description="A real Kubernetes on this machine.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start a cluster that lives until `down`")
    up.add_argument("--node", choices=["auto", *NodeKind], help="how deep it goes (default: $NODE, else auto)")
    up.add_argument("--images", action="store_true", help="also build the images and bring them to the kubelet's node")
    up.add_argument("--kueue", action="store_true", help="run Kueue beside it (the first time, built from source)")
    up.set_defaults(command=_up)

    down = commands.add_parser("down", help="end a cluster, and whatever stale ones left behind")
    down.add_argument("--all", action="store_true", help="end every cluster of this cache")
    down.set_defaults(command=_down)

    status = commands.add_parser("status", help="list clusters; exit code 1 when something was left behind")
    status.set_defaults(command=_status)

    kubeconfig = commands.add_parser("kubeconfig", help="print the path of a cluster's kubeconfig")
    kubeconfig.set_defaults(command=_kubeconfig)

    image = commands.add_parser("images", help="build images; with a kubelet's cluster running, bring them to its node")
    image.add_argument("images", nargs="*", metavar="IMAGE", help=f"which: {', '.join(images.IMAGES)} (default: all)")
    image.set_defaults(command=_images)

    for with_name in (up, down, kubeconfig, image):
        with_name.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")

    prepare = commands.add_parser("prepare", help="build beforehand what a cluster needs, and print where it is")
    prepare.add_argument(
        "--node", choices=["auto", *NodeKind], help="for how deep a cluster (default: $NODE, else auto)"
    )
    prepare.add_argument("--kueue", action="store_true", help="also what `up --kueue` needs")
    prepare.add_argument("--gitops", action="store_true", help="also what the tests of manifests ask (kstatus, PromQL)")
    prepare.set_defaults(command=_prepare)
    return parser


def _up(options: argparse.Namespace) -> int:
    choice = choose.choose(options.node or os.environ.get(choose.VARIABLE), choose.look())
    print(choice, file=sys.stderr)
    cleanup.sweep()
    if run := runs.load(options.name):
        if run.state() is not runs.State.BROKEN:
            raise ClusterError(f"cluster {run.name} is {run.state()} already: export KUBECONFIG={run.kubeconfig}")
        print(
            f"cluster {run.name} is broken ({', '.join(run.processes().dead())} ended): starting it again",
            file=sys.stderr,
        )
        cleanup.tear_down(run)
    # A person is at the keyboard: say who has the node rather than wait for it.
    opened = Cluster(choice.node, options.name, wait=0, kueue=options.kueue)
    opened.prepare(images.INSTALLED if options.images else ())
    with opened as cluster:
        if options.images:
            cluster.load_images()
        run = cluster.detach()
    print(f"export KUBECONFIG={run.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    cleanup.sweep()
    found = runs.all_runs() if options.all else [run for run in [runs.load(options.name)] if run]
    for run in found:
        cleanup.tear_down(run)
        print(f"cluster {run.name} is gone")
    return 0


def _status(_: argparse.Namespace) -> int:
    print(f"cache: {paths.cache()}")
    for run in runs.all_runs():
        print(f"{run.name}: {run.state()}, node: {run.node}, kubeconfig: {run.kubeconfig}")
    left = cleanup.orphans()
    for sentence in left:
        print(f"left behind: {sentence}")
    if not left:
        print("left behind: nothing")
    return 1 if left else 0


def _kubeconfig(options: argparse.Namespace) -> int:
    print(_named(options.name).kubeconfig)
    return 0


def _images(options: argparse.Namespace) -> int:
    chosen, builder = images.select(options.images or images.IMAGES), Builder()
    run = runs.load(options.name)
    if run and run.node is NodeKind.KUBELET:
        image_import.load(chosen, builder, Containerd(run.folder, run.images_root, run.processes()))
    else:
        builder.build(chosen)
    for image in chosen:
        print(f"{image.reference} ({image.key})")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    choice = choose.choose(options.node or os.environ.get(choose.VARIABLE), choose.look())
    print(choice, file=sys.stderr)
    tools = binaries.ensure(["gitops", "promql"]) if options.gitops else {}
    chosen = images.select(images.IMAGES) if choice.node is NodeKind.KUBELET else []
    programs = Cluster(choice.node, kueue=options.kueue).prepare([image.name for image in chosen])
    for name, path in (programs | tools).items():
        print(f"{name}: {path}")
    for image in chosen:
        print(f"{image.reference} ({image.key})")
    return 0


def _named(name: str) -> Run:
    run = runs.load(name)
    if run is None:
        raise ClusterError(f"there is no cluster named {name}: start it with `python -m devcluster up --name {name}`")
    return run


if __name__ == "__main__":
    sys.exit(main())
