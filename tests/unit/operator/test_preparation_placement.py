"""On which nodes a preparing pod may run."""

from dataclasses import replace
from typing import Any

from gpu_relay.api.words import Reason
from gpu_relay.domain.objects.pvc import Pvc, claim_names
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.queue.candidate import Candidate
from gpu_relay.domain.queue.preparation_placement import Obstacle, Place, Surroundings, find_place
from tests.support.builders import job, report, resident

POLICY = Policy(preparations=2, backoff_base=10)


def gpu(node: str, *, total: int = 15360, **labels: str) -> Candidate:
    reported = report(uuid=f"GPU-{node}", total_mib=total)
    return Candidate(f"gpu-{node}", resident(reported, namespace="vision", uid=node, node=node, labels=labels), {})


CLAIMS = ("data", "results")
BOUND, UNBOUND = dict.fromkeys(CLAIMS, Pvc(bound=True)), dict.fromkeys(CLAIMS, Pvc(bound=False))


def obstacle(seen: Surroundings, **spec: Any) -> Reason:
    found = find_place(job(**spec), seen, POLICY)
    assert isinstance(found, Obstacle)
    return found.reason


def test_unbound_pvcs_bind_where_a_gpu_fits() -> None:
    gpus = [gpu("small", total=4096), gpu("large"), gpu("also-large")]
    assert find_place(job(), Surroundings(gpus, pvcs=BOUND), POLICY) == Place(("also-large", "large"))
    assert find_place(job(), Surroundings(gpus, pvcs=UNBOUND), POLICY) == Place(("also-large", "large"), required=True)


def test_unknown_gpus_obstruct_only_unbound_pvcs() -> None:
    unknown = Surroundings([gpu("small", total=4096)], all_reported=False, pvcs=BOUND)
    assert find_place(job(), unknown, POLICY) == Place(("small",))
    assert obstacle(replace(unknown, pvcs=UNBOUND)) == Reason.RESIDENT_UNREACHABLE
    assert obstacle(replace(unknown, all_reported=True)) == Reason.NO_GPU_FITS
    alone = Surroundings(has_residents=False, pvcs=BOUND)
    assert find_place(job(), alone, POLICY) == Place()
    assert obstacle(replace(alone, pvcs=UNBOUND)) == Reason.PREPARATION_SKIPPED


LABEL = {"persistentVolumeClaim": {"claimName": "data"}, "label": {"prompts": [{"text": "dent", "class": "dent"}]}}


def labelling(node: str, *, loaded: bool, total: int = 15360) -> Candidate:
    reported = report(uuid=f"GPU-{node}", loaded=loaded, total_mib=total)
    at = resident(reported, namespace="vision", uid=node, node=node, url=f"http://{node}:8000")
    return Candidate(f"gpu-{node}", at, {})


def test_a_loaded_resident_labels_images() -> None:
    gpus = [labelling("resting", loaded=False), labelling("serving", loaded=True)]
    found = find_place(job(dataset=LABEL), Surroundings(gpus, pvcs=BOUND), POLICY)
    assert found == Place(("resting", "serving"), label_server="http://serving:8000")
    unbound = find_place(job(dataset=LABEL), Surroundings(gpus[:1], pvcs=UNBOUND), POLICY)
    assert unbound == Place(("resting",), required=True, label_server="http://resting:8000")
    without = find_place(job(), Surroundings(gpus, pvcs=BOUND), POLICY)
    assert isinstance(without, Place)
    assert without.label_server is None


def test_the_resident_of_a_gpu_that_suits_labels_images() -> None:
    gpus = [labelling("small", loaded=True, total=4096), labelling("large", loaded=False)]
    found = find_place(job(dataset=LABEL), Surroundings(gpus, pvcs=BOUND), POLICY)
    assert found == Place(("large",), label_server="http://large:8000")
    small = find_place(job(dataset=LABEL), Surroundings(gpus[:1], all_reported=False, pvcs=BOUND), POLICY)
    assert small == Place(("small",), label_server="http://small:8000")


def test_images_are_not_labelled_without_a_resident() -> None:
    assert obstacle(Surroundings(pvcs=BOUND), dataset=LABEL) == Reason.RESIDENT_UNREACHABLE
    assert obstacle(Surroundings(has_residents=False, pvcs=BOUND), dataset=LABEL) == Reason.RESIDENT_MISSING


def test_a_missing_pvc_is_the_first_obstacle() -> None:
    missing = {**BOUND, "data": None}
    assert obstacle(Surroundings([gpu("small", total=4096)], pvcs=missing)) == Reason.VOLUME_CLAIM_MISSING
    found = find_place(job(), Surroundings(pvcs=missing), POLICY)
    assert isinstance(found, Obstacle)
    assert found.message == "PersistentVolumeClaim data does not exist in namespace vision: create it"
    assert claim_names(job()) == CLAIMS
