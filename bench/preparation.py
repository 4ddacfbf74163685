"""How much outage a preparation without a GPU saves: `python -m bench.preparation [--mib 100] [--mib-per-second 5]`.

The whole relay on a local Kubernetes. The same job twice, with its data behind a slow URI: prepared before it joins
the queue, and left to the training pod. Prints how long SAM3 was off the GPU each time.
"""

import argparse
import functools
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sklearn import datasets

from demo.recipe import QUICK
from demo.relay import MODEL_MIB, Relay
from devcluster import Cluster, NodeKind, choose, host
from devcluster.deploy import Volumes, deploy

_PHOTOGRAPH = Path(datasets.__file__).parent / "images" / "china.jpg"
_MIB = 2**20
_PERIOD = 0.1


@contextmanager
def slow_server(folder: Path, address: str, mib_per_second: float) -> Iterator[str]:
    """Serve a folder at so many MiB a second; yield its base URL."""

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            while block := source.read(_MIB // 4):
                outputfile.write(block)
                time.sleep(0.25 / mib_per_second)

        def log_request(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((address, 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def outage_of(relay: Relay, name: str, **spec: Any) -> tuple[float, float]:
    """Run a job; return the seconds for which SAM3 was unloaded, and those from `kubectl apply` to the job's end."""
    relay.load_sam3(_PHOTOGRAPH)
    out, applied = 0.0, time.monotonic()
    relay.apply(name, **spec)
    last = applied
    while relay.phase(name) not in {"Succeeded", "Failed"}:
        time.sleep(_PERIOD)
        now = time.monotonic()
        out += 0.0 if relay.used_mib() == MODEL_MIB else now - last
        last = now
    ended = time.monotonic()
    if relay.phase(name) != "Succeeded":
        raise SystemExit(relay.report())
    relay.is_back()
    return out, ended - applied


def measure(relay: Relay, uri: str) -> None:
    """Run the job both ways and print a table."""
    print(f"{'':30}  SAM3 away  apply to end")
    for number, how in (("2", "prepared without a GPU"), ("0", "left to the training pod")):
        relay.kubectl("-n", "gpu-relay", "set", "env", "deployment/gpu-relay", f"GPU_RELAY_PREPARATIONS={number}")
        relay.kubectl("-n", "gpu-relay", "rollout", "status", "deployment/gpu-relay", timeout=200)
        name = f"fetched-{number}"
        out, total = outage_of(relay, name, dataset={"uri": uri})
        said = relay.job(name)["status"].get("preparation", {}).get("message", "")
        print(f"{how:30}  {out:6.1f} s   {total:10.1f} s   {said}", flush=True)


def main() -> None:
    """Start GPU Relay, write the data, measure."""
    parser = argparse.ArgumentParser(prog="bench.preparation", description=__doc__)
    parser.add_argument("--mib", type=int, default=100, help="size of the archive")
    parser.add_argument("--mib-per-second", type=float, default=5.0, help="speed of the link")
    arguments = parser.parse_args()
    choice = choose.choose(os.environ.get(choose.VARIABLE), choose.look())
    with Cluster(choice.node) as cluster, tempfile.TemporaryDirectory() as folder:
        if choice.node is NodeKind.KUBELET:
            cluster.load_images()
        volumes = Volumes(cluster.ledger.parent / "volumes")
        volumes.make_tiny_model()
        QUICK.make_images(volumes.data / "digits")
        (volumes.data / "digits" / "more.bin").write_bytes(secrets.token_bytes(arguments.mib * _MIB))
        archive = Path(shutil.make_archive(f"{folder}/digits", "zip", volumes.data / "digits"))
        deploy(cluster, volumes)
        address = host.GATEWAY if choice.node is NodeKind.KUBELET else "127.0.0.1"
        with slow_server(archive.parent, address, arguments.mib_per_second) as url:
            measure(Relay(cluster, volumes), f"{url}/{archive.name}")


if __name__ == "__main__":
    main()
