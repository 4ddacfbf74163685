"""Two GPUs, twelve jobs, and much that goes wrong: all end right, in an order that the queue explains."""

import re

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.kubelet import ScriptedKubelet
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

PRIORITIES = {
    "urgent": 100, "sleepy": 50, "doomed": 50, "greedy": 20, "broken": 20, "plain-a": 10,
    "plain-b": 10, "plain-c": 10, "plain-d": 0, "plain-e": 0, "late": -5, "latest": -10,
}  # fmt: skip


def test_two_gpus_and_twelve_jobs(world: World, resident: ScriptedResident, operator: OperatorProcess) -> None:
    second = ScriptedResident(uuid="GPU-00000000-0000-0000-0000-000000000002")
    world.add_resident(second, name="sam3-b", node="node-2")
    script = ScriptedKubelet(
        world,
        (resident, second),
        seconds=0.5,
        lengths={"sleepy": 8, "doomed": 60},
        ends={"greedy": ["OutOfMemory"], "broken": ["DatasetInvalid"]},
    )
    with script as kubelet:
        for name, priority in PRIORITIES.items():
            world.apply_job(name, priority=priority)
        world.reaches("sleepy", "Training")
        world.patch_job("sleepy", suspend=True)
        world.reaches("doomed", "Training")
        world.delete_job("doomed")
        world.reaches("sleepy", "Suspended")
        world.patch_job("sleepy", suspend=False)

        alive = [name for name in PRIORITIES if name != "doomed"]
        eventually(lambda: all(world.phase(name) in {"Succeeded", "Failed"} for name in alive), "all ends", within=180)
        eventually(lambda: resident.loaded and second.loaded and world.no_reload_pending(), "both residents to be back")

    second.close()
    assert kubelet.violations == []
    assert [name for name in alive if world.phase(name) == "Failed"] == ["broken"]
    assert not world.has_job("doomed")
    assert "doomed-1" not in world.pod_names()
    assert [each["reason"] for each in world.attempts("greedy")] == ["OutOfMemory", "Completed"]
    assert [each["batch"] for each in world.attempts("greedy")] == [16, 8]
    assert [each["reason"] for each in world.attempts("sleepy")] == ["Suspended", "Completed"]
    # jobs that waited from the start got a GPU by priority, then by age; the log has the order of the Leases
    begun = re.findall(rf"{world.namespace}/(\S+)\] its turn begins", operator.log())
    plain = [name for name in begun if name.startswith(("plain", "late"))]
    assert [PRIORITIES[name] for name in plain] == [10, 10, 10, 0, 0, -5, -10]
