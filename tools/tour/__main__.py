"""Write docs/tour.md: what `kubectl get` and `kubectl describe` show of a job in each of its states.

`make tour` brings jobs into these states on a real control plane, where resident and kubelet follow a script, and
writes down what kubectl prints.
"""

import json
import tempfile
from pathlib import Path

from devcluster import Cluster
from devcluster.controlplane import api_client
from devcluster.paths import REPOSITORY
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import create_namespace, furnish
from devcluster.scripted.manifests import Object
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.trainer import ScriptedTrainer
from devcluster.scripted.world import World
from tools.tour.page import NAMESPACE, NODE, Tour
from tools.tour.scenes import BEFORE_THE_QUEUE, ON_A_GPU, Scenes

_TARGET = REPOSITORY / "docs" / "tour.md"


def _play(tour: Tour, scenes: Scenes) -> None:
    for scene in scenes:
        print(scene.__name__, flush=True)
        scene(tour)
        tour.clear()


def _furnish_for_the_scheduler(cluster: Cluster) -> None:
    """Give the node capacity for pods, and the namespace the PVCs that jobs name: no pod waits for either."""
    room = json.dumps({"status": {"allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110", "nvidia.com/gpu": "2"}}})
    cluster.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "--patch", room)
    for name in ("data", "results"):
        shared: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        volume = {**shared, "capacity": {"storage": "1Gi"}, "hostPath": {"path": f"/{name}"}}
        claim = {**shared, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
        for kind, spec in (("PersistentVolume", volume), ("PersistentVolumeClaim", claim)):
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
            cluster.kubectl("-n", NAMESPACE, "create", "-f", "-", stdin=json.dumps(body))
    cluster.kubectl("-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all", "--timeout=60s")


def main() -> None:
    """Run all scenes and write the page."""
    with Cluster() as cluster, tempfile.TemporaryDirectory() as folder, api_client(cluster.run_dir) as api:
        furnish(cluster)
        create_namespace(api, NAMESPACE)
        _furnish_for_the_scheduler(cluster)
        world, resident, trainer = World(api, NAMESPACE), ScriptedResident(), ScriptedTrainer(epochs=100)
        world.add_resident(resident)
        tour = Tour(cluster, world, resident, trainer)
        for scenes, preparations in ((BEFORE_THE_QUEUE, "1"), (ON_A_GPU, "0")):
            operator = OperatorProcess(
                cluster.kubeconfig, Path(folder) / "operator.log", memory_return_timeout="60", preparations=preparations
            )
            operator.start()
            try:
                _play(tour, scenes)
            finally:
                operator.stop()
        _TARGET.write_text("\n".join(tour.page))
    print(f"wrote {_TARGET.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
