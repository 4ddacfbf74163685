"""`python -m devcluster.process_node`: see the package's own words for what it does and does not do."""

import argparse
import asyncio
import fcntl
import logging
import signal
import sys
from pathlib import Path

import aiohttp

from devcluster import process_node
from devcluster.process_node import logs
from devcluster.process_node.node import ProcessNode, end_strays
from devcluster.process_node.pods import Services
from devcluster.process_node.settings import NodeSettings
from gpu_relay.clients import credentials
from gpu_relay.clients.kube import Kube

logger = logging.getLogger("process_node")
_TIMEOUT_SECONDS = 10.0


def main() -> int:
    """Run the node until SIGTERM or SIGINT; returns the exit code."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = NodeSettings(
        options.node_name,
        options.run_dir.absolute(),
        options.ledger.absolute() if options.ledger else None,
        options.gpus,
        options.restart_delay,
    )
    settings.pods.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process node uses {settings.run_dir}: choose another --run-dir", file=sys.stderr)
            return 1
        for stray in end_strays(settings.run_dir):
            logger.warning("ended process %d, left behind by an earlier life of this node", stray.pid)
        asyncio.run(_serve(settings, options.kubeconfig))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.process_node",
        description=process_node.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--kubeconfig", type=Path, required=True, help="for the API server, with a node's rights or more"
    )
    parser.add_argument("--node-name", required=True, help="the node's name")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder for the pods' files and logs")
    parser.add_argument("--ledger", type=Path, help="folder of the simulated GPU (python -m gpu_memory create-ledger)")
    parser.add_argument("--gpus", type=int, default=2, help="pods that may share the GPU (default: %(default)s)")
    parser.add_argument(
        "--restart-delay",
        type=float,
        default=10.0,
        help="first back-off after a crash, in seconds (default: %(default)s)",
    )
    return parser


async def _serve(settings: NodeSettings, kubeconfig: Path) -> None:
    leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave.set)
    nodes: list[ProcessNode] = []
    configuration = await credentials.load(str(kubeconfig), None)
    authority = await asyncio.to_thread(Path(configuration.ssl_ca_cert).read_bytes)
    async with (
        Kube.connect(field_manager="process-node", timeout=_TIMEOUT_SECONDS, kubeconfig=str(kubeconfig)) as kube,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0)) as session,
    ):
        services = Services(settings, kube, session, kube.server, authority)
        async with logs.serve(lambda: nodes[0].workers if nodes else {}, authority) as port:
            nodes.append(ProcessNode(services, port))
            await nodes[0].run(leave)


if __name__ == "__main__":
    sys.exit(main())
