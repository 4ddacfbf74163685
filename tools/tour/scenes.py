"""The scenes of the tour: each brings jobs into one state and shows it."""

from collections.abc import Callable

from devcluster.waiting import eventually
from tools.tour.page import NODE, Tour

_STOPPED = "stopped after epoch 12 of 100; the checkpoint is written"
_DONE = "100 of 100 epochs, mAP50-95 0.7"
_METRICS = {"mAP50": 0.91, "mAP50_95": 0.7}


def preparing(tour: Tour) -> None:
    """Show a job that prepares, and one that waits for a slot."""
    tour.world.apply_job("digits")
    tour.world.apply_job("defects")
    tour.schedules("digits-1-prepare")
    tour.world.run_pod("digits-1-prepare")
    tour.condition("defects", "WaitingToPrepare")
    tour.condition("digits", "Preparing")
    tour.show(
        "Preparing",
        "A pod without a GPU fetches and checks the data. The resident stays loaded and serves requests.",
        "digits",
    )


def queued(tour: Tour) -> None:
    """Show a job that waits while another trains."""
    tour.trainer.epoch, tour.trainer.eta_seconds, tour.trainer.metrics = 12, 900, {"mAP50": 0.61, "mAP50_95": 0.42}
    tour.world.apply_job("defects")
    tour.trains("defects-1")
    tour.world.apply_job("digits")
    eventually(lambda: tour.world.job("digits")["status"].get("estimatedStartTime"), "an estimate")
    tour.show(
        "Queued",
        "Another job owns the GPU. `Queue Position` is the position of this job. `Estimated Start Time` is when its "
        "turn is expected to begin, from the eta of the running job and the run times of finished jobs. It is absent "
        "without an estimate.",
        "digits",
        spec=True,
        wide=True,
    )


def too_large(tour: Tour) -> None:
    """Show a job that asks for more memory than any GPU has."""
    tour.world.apply_job("huge", memory="40Gi")
    tour.condition("huge", "NoGpuFits")
    tour.show(
        "Queued indefinitely",
        "No GPU is large enough. Other jobs start before it. Delete it, or add a larger GPU.",
        "huge",
    )


def acquiring(tour: Tour) -> None:
    """Show a job that owns the GPU and waits for memory that another process holds."""
    tour.resident.faults.leak_mib = 5000
    tour.world.apply_job("digits")
    tour.condition("digits", "WaitingForMemory")
    tour.show(
        "Acquiring",
        "The job owns the GPU's Lease and the resident has unloaded. Training starts when the measured free memory is "
        "enough. Here it is not, because another process holds 5,000 MiB. No training pod is created.",
        "digits",
    )


def training(tour: Tour) -> None:
    """Show a job that trains."""
    tour.world.apply_job("digits")
    tour.trains("digits-1")
    tour.show(
        "Training",
        "The training pod runs. `Gpu` has the free memory that was measured before the pod was created.",
        "digits",
        wide=True,
    )


def image(tour: Tour) -> None:
    """Show a job with an image that cannot be pulled."""
    tour.world.apply_job("digits", podTemplate={"image": "registry.example/yolo:typo"})
    tour.schedules("digits-1")
    state = {"waiting": {"reason": "ErrImagePull", "message": "registry.example/yolo:typo: not found"}}
    status = {"name": "trainer", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    tour.world.set_pod("digits-1", phase="Pending", containerStatuses=[status])
    tour.condition("digits", "ImagePullFailed")
    tour.show(
        "Training, but the pod does not start",
        "The condition has the message of the kubelet, and what to change. You can change `spec.podTemplate` at any "
        "time; it applies to the next attempt. After a minute of failures the attempt fails, and the resident gets the "
        "GPU.",
        "digits",
    )


def lost_node(tour: Tour) -> None:
    """Show a job with a training pod on a node that stopped reporting."""
    tour.world.apply_job("digits")
    tour.schedules("digits-1")
    tour.world.run_pod("digits-1")
    tour.world.set_node(NODE, "Unknown", "Kubelet stopped posting node status.")
    tour.condition("digits", "NodeLost")
    tour.show(
        "Training, but the node is lost",
        "It is unknown whether the pod still trains. No other owner gets the GPU until you confirm that the node "
        "is down.",
        "digits",
    )
    tour.world.set_node(NODE, "True", "kubelet is posting ready status")


def preempted(tour: Tour) -> None:
    """Show a preemptible job that a job of higher priority stops."""
    tour.world.apply_job("nightly", preemptible=True)
    tour.trains("nightly-1")
    tour.world.apply_job("urgent", priority=10)
    tour.condition("nightly", "Preempted")
    tour.show(
        "Preempted",
        "A job of higher priority waits, and this one has `preemptible: true`. It writes a checkpoint, returns to the "
        "queue, and resumes from the checkpoint later. This costs no attempt.",
        "nightly",
    )


def retrying(tour: Tour) -> None:
    """Show a job that trains again after it ran out of GPU memory."""
    tour.world.apply_job("digits")
    tour.schedules("digits-1")
    tour.world.end_pod(
        "digits-1", "OutOfMemory", 12, epoch=0, message="batch 16 needs more than the 10,240 MiB granted"
    )
    tour.trains("digits-2")
    tour.show(
        "Retried",
        "The first attempt ran out of GPU memory; the second uses half the batch size. `Attempts` lists each.",
        "digits",
    )


def suspended(tour: Tour) -> None:
    """Show a job that was suspended while it trained."""
    tour.world.apply_job("digits")
    tour.trains("digits-1")
    tour.world.patch_job("digits", suspend=True)
    tour.condition("digits", "Suspended")
    tour.world.end_pod("digits-1", "Interrupted", 143, epoch=12, message=_STOPPED)
    tour.world.reaches("digits", "Suspended")
    tour.end("digits", "Suspended")
    tour.show(
        "Suspended", "Stopped at a checkpoint by `spec.suspend: true`. The resident owns the GPU again.", "digits"
    )


def resumed(tour: Tour) -> None:
    """Show a job that was resumed."""
    tour.world.apply_job("digits", suspend=True)
    tour.world.reaches("digits", "Suspended")
    tour.world.patch_job("digits", suspend=False)
    tour.trains("digits-1")
    tour.show("Resumed", "`spec.suspend` is `false` again, and the condition Suspended is False.", "digits")


def releasing(tour: Tour) -> None:
    """Show a job that has ended, with memory still in use."""
    tour.world.apply_job("digits")
    tour.trains("digits-1")
    tour.resident.trainer_mib = 10_240
    tour.world.end_pod("digits-1", epoch=100, message=_DONE)
    tour.world.reaches("digits", "Releasing")
    tour.show(
        "Releasing",
        "The training run has ended. The operator waits until its memory is free, then the resident loads.",
        "digits",
    )


def succeeded(tour: Tour) -> None:
    """Show a job that succeeded, with the resident loaded again."""
    tour.world.apply_job("digits")
    tour.trains("digits-1")
    weights = {"best": "/output/digits/weights/best.pt", "last": "/output/digits/weights/last.pt"}
    tour.world.end_pod("digits-1", epoch=100, message=_DONE, metrics=_METRICS, weights=weights, peakMemoryMiB=9_412)
    tour.world.reaches("digits", "Succeeded")
    tour.end("digits", "Completed")
    tour.show(
        "Succeeded",
        "The status has weights and metrics, and the resident is loaded again. The Events list all steps.",
        "digits",
        wide=True,
    )


def in_a_row(tour: Tour) -> None:
    """Show a job that succeeded while another waits."""
    tour.world.apply_job("digits")
    tour.trains("digits-1")
    tour.world.apply_job("defects")
    tour.world.reaches("defects", "Queued")
    tour.world.end_pod("digits-1", epoch=100, metrics=_METRICS, message=_DONE)
    tour.end("digits", "Completed")
    tour.world.reaches("defects", "Acquiring", "Training")
    tour.show(
        "Succeeded, and the next job has the GPU",
        "Another job waits, and the outage of the resident is still short: the resident loads after the next turn.",
        "digits",
    )


def unloaded(tour: Tour) -> None:
    """Show a job that succeeded, with a resident that cannot be loaded."""
    tour.resident.faults.load = "weights/sam3.safetensors is missing"
    tour.world.apply_job("digits")
    tour.schedules("digits-1")
    tour.world.end_pod("digits-1", epoch=100, message=_DONE)
    tour.world.reaches("digits", "Succeeded")
    tour.end("digits", "ResidentLoadFailed")
    tour.show(
        "Succeeded, but the resident does not load",
        "The job does not wait for a broken resident. The operator retries; the condition becomes True once it loads.",
        "digits",
    )


def failed(tour: Tour) -> None:
    """Show a job with an invalid data set."""
    tour.world.apply_job("digits")
    tour.schedules("digits-1-prepare")
    tour.world.end_pod("digits-1-prepare", "DatasetInvalid", 13, message="data.yaml: `names` is missing")
    tour.world.reaches("digits", "Failed")
    tour.end("digits", "DatasetInvalid")
    tour.show(
        "Failed: the data set",
        "The preparation found the error before a GPU was assigned. The job is not retried. Fix the data and create a "
        "new job.",
        "digits",
    )


def too_late(tour: Tour) -> None:
    """Show a job that reached its deadline."""
    tour.world.apply_job("digits", activeDeadlineSeconds=4)
    tour.schedules("digits-1")
    tour.world.run_pod("digits-1", ip=tour.trainer.ip)
    tour.condition("digits", "DeadlineExceeded")
    tour.world.end_pod("digits-1", "Interrupted", 143, epoch=12, message=_STOPPED)
    tour.world.reaches("digits", "Failed")
    tour.end("digits", "DeadlineExceeded")
    tour.show("Failed: the deadline", "Stopped at a checkpoint after `activeDeadlineSeconds`.", "digits")


Scenes = tuple[Callable[[Tour], None], ...]
BEFORE_THE_QUEUE: Scenes = (preparing, failed)
ON_A_GPU: Scenes = (
    queued, too_large, acquiring, image, training, retrying, preempted, suspended, resumed, lost_node, releasing,
    succeeded, in_a_row, unloaded, too_late,
)  # fmt: skip
