"""What the owner of a namespace may write on pods there: nothing of it freezes a GPU, or lets a hold expire."""

from collections.abc import Callable

from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.resident import ScriptedResident
from devcluster.scripted.world import World
from devcluster.waiting import eventually

Start = Callable[..., OperatorProcess]
PROOF = "gpurelay.dev/proven-free-mib"


def test_numbers_of_any_length_freeze_no_gpu(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.finalize_pod("digits-1", ["example.com/stays"])
    world.annotate_pod("digits-1", {PROOF: "9" * 5000})
    world.label_pod("digits-1", {"gpurelay.dev/attempt": "1" * 30})
    operator.kill()  # the next process meets the pod as it is
    operator.start()
    eventually(lambda: world.waits_for("digits", "TrainingRunning"), "the training to be followed")
    world.apply_job("other")
    world.end_pod("digits-1")
    world.shows_pod("other-1")
    world.reaches("digits", "Succeeded")
    assert [attempt["number"] for attempt in world.attempts("digits")] == [1], "counted by the status"
    world.end_pod("other-1")
    world.reaches("other", "Succeeded")
    eventually(world.no_reload_pending, "the Lease to be settled")
    world.finalize_pod("digits-1", [])


def test_a_forged_sharing_label_does_not_end_a_hold(
    world: World, resident: ScriptedResident, start_operator: Start
) -> None:
    """Law 2: a hold that is not renewed expires, and the resident loads beside the training."""
    operator = start_operator(hold_ttl="5")
    world.apply_job("digits", gpu={"memory": "10Gi", "sharing": "Coresident"})
    world.shows_pod("digits-1")
    world.run_pod("digits-1")
    world.label_pod("digits-1", {"gpurelay.dev/sharing": "coresident"})
    operator.kill()
    operator.start()
    before = len(resident.called("unload"))
    eventually(lambda: len(resident.called("unload")) > before + 1, "the hold to be renewed twice")
    assert not resident.loaded


def test_a_training_beside_the_resident_is_known_without_its_label(world: World, operator: OperatorProcess) -> None:
    resident = ScriptedResident(model_mib=4000, cap_mib=6000)
    world.add_resident(resident)
    world.apply_job("small", gpu={"memory": "8Gi", "sharing": "Coresident"})
    world.shows_pod("small-1")
    assert world.job("small")["status"]["turn"]["sharing"] == "Coresident"
    world.label_pod("small-1", {"gpurelay.dev/sharing": "no"})
    world.run_pod("small-1")
    operator.kill()
    operator.start()
    eventually(lambda: world.waits_for("small", "TrainingRunning"), "the training to be followed")
    world.end_pod("small-1")
    world.reaches("small", "Succeeded")
    assert resident.called("unload") == []
    resident.close()


def test_a_stop_shortens_a_long_grace_period(
    world: World, resident: ScriptedResident, operator: OperatorProcess
) -> None:
    """The namespace's owner deletes the pod with a day's grace; its image ignores SIGTERM. Suspension still works."""
    world.apply_job("digits")
    world.shows_pod("digits-1")
    world.bind_pod("digits-1", "node-1")
    world.run_pod("digits-1")
    world.delete_pod("digits-1", grace=86_400)
    eventually(lambda: world.waits_for("digits", "Stopping"), "the condition Stopping")
    assert world.pod("digits-1")["metadata"]["deletionGracePeriodSeconds"] == 86_400
    world.patch_job("digits", suspend=True)
    eventually(
        lambda: world.pod("digits-1")["metadata"]["deletionGracePeriodSeconds"] == 60, "the grace period to be ours"
    )
    world.delete_as_kubelet("digits-1")
    world.reaches("digits", "Suspended")
