"""The turns that a training pod, or a check that is Ready, names: each GPU with the fence of its turn."""

from dataclasses import dataclass

from gpu_relay.clients.kube import Object


@dataclass(frozen=True)
class Placement:
    """A GPU, and the fence of the turn in which it is used."""

    gpu: str
    fence: int


def placements_of(metadata: Object) -> list[Placement]:
    """Return the turns in the metadata of a pod, or of a pod set's update: all GPUs of its pod set."""
    labels, annotations = metadata["labels"], metadata.get("annotations", {})
    turns = [each.partition("=") for each in annotations.get("gpurelay.dev/turns", "").split(",") if each]
    if turns:
        return [Placement(gpu, int(fence)) for gpu, _, fence in turns]
    return [Placement(labels["gpurelay.dev/gpu"], int(labels["gpurelay.dev/fence"]))]


def placement_of(pod: Object, at_node: str) -> Placement:
    """Return the turn of one pod; `at_node` is the GPU of its node, which matters where its pod set has several."""
    found = placements_of(pod["metadata"])
    return next((each for each in found if each.gpu == at_node), found[0])
