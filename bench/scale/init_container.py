"""What an init container costs on a real kubelet beside its own work: `python -m bench.scale.init_container`.

The same pod with and without an init container that sleeps for a second, in turns, on an idle node: the difference of
the times from the pod's creation to its main container's first line of Python, less that second.
"""

import argparse
import statistics
import time
from typing import Any

import httpx

from devcluster import Cluster, NodeKind
from devcluster.controlplane import api_client
from devcluster.waiting import eventually

_IMAGE = "localhost/gpu-relay/operator:dev"
_PODS = "/api/v1/namespaces/default/pods"
_WORK = 1.0
"""Seconds that the init container sleeps for."""


def main() -> None:
    """Measure, and print each pair and the median."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale.init_container", description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    found = []
    with Cluster(NodeKind.KUBELET) as cluster, api_client(cluster.run_dir) as api:
        cluster.load_images(["operator"])
        _start(api, "warm", init=False)
        for number in range(pairs):
            without = _start(api, f"without-{number}", init=False)
            with_init = _start(api, f"with-{number}", init=True)
            found.append(with_init - without - _WORK)
            print(f"without {without:.2f} s, with {with_init:.2f} s: {found[-1]:.2f} s", flush=True)
    print(f"an init container costs {statistics.median(found):.2f} s (median of {pairs})")


def _start(api: httpx.Client, name: str, *, init: bool) -> float:
    """Run a pod; return the seconds from its creation to the first line of its main container."""
    began = time.time()
    api.post(_PODS, json=_pod(name, init=init)).raise_for_status()
    eventually(lambda: _phase(api, name) == "Succeeded", f"pod {name} to end", within=120)
    said = float(api.get(f"{_PODS}/{name}/log").text)
    api.request("DELETE", f"{_PODS}/{name}", json={"gracePeriodSeconds": 0})
    eventually(lambda: api.get(f"{_PODS}/{name}").status_code == 404, f"pod {name} to be gone", within=60)
    return said - began


def _phase(api: httpx.Client, name: str) -> str:
    return str(api.get(f"{_PODS}/{name}").json()["status"].get("phase", ""))


def _pod(name: str, *, init: bool) -> dict[str, Any]:
    main = _container("main", "import time; print(time.time())")
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [main]}
    if init:
        spec["initContainers"] = [_container("init", f"import time; time.sleep({_WORK})")]
    return {"metadata": {"name": name}, "spec": spec}


def _container(name: str, program: str) -> dict[str, Any]:
    command = ["python", "-c", program]
    return {"name": name, "image": _IMAGE, "imagePullPolicy": "Never", "command": command}


if __name__ == "__main__":
    main()
