"""What the page shows of a GPU, put together from Leases, residents' pods and jobs: pure functions."""

from collections.abc import Iterable
from typing import Any

from gpu_relay.api import words

Object = dict[str, Any]
_HOLDS_A_GPU = frozenset({"Acquiring", "Training", "Releasing"})


def lease(raw: Object) -> Object:
    """Return what a GPU's Lease tells; its renew key stays behind."""
    meta, spec = raw["metadata"], raw.get("spec", {})
    annotations = meta.get("annotations", {})
    return {
        "key": meta["name"],
        "node": annotations.get(words.ANNOTATION_NODE, ""),
        "holder": spec.get("holderIdentity", ""),
        "since": spec.get("acquireTime"),
        "fence": spec.get("leaseTransitions", 0),
        "owed": words.ANNOTATION_RELOAD_OWED in annotations,
    }


def resident(raw: Object) -> Object:
    """Return what a resident's pod tells."""
    meta, status = raw["metadata"], raw.get("status", {})
    conditions = status.get("conditions", [])
    return {
        "id": f"{meta['namespace']}/{meta['name']}",
        "node": raw.get("spec", {}).get("nodeName", ""),
        "phase": "Terminating" if "deletionTimestamp" in meta else status.get("phase", "Unknown"),
        "ready": any(each["type"] == "Ready" and each["status"] == "True" for each in conditions),
    }


def gpus(jobs: Iterable[Object], leases: Iterable[Object], residents: Iterable[Object]) -> list[Object]:
    """Return every GPU that anything tells of, by node and name; takes what `summary`, `lease`, `resident` return.

    A GPU is known by its Lease, by the jobs that had it, and, before its first turn, by its resident alone.
    """
    found: dict[str, Object] = {}
    for each in leases:
        found[each["key"]] = _gpu(each["key"], node=each["node"]) | _owner(each)
    for job in sorted(jobs, key=lambda job: str(job["created"])):
        if job["gpu"] and job["gpu"]["uuid"]:
            _learn(found, job)
    pods = {each["id"]: each for each in residents}
    for gpu in found.values():
        gpu["pod"] = pods.pop(gpu["resident"], None) or _only_one_on(pods, gpu)
    for pod in pods.values():
        key = f"pod/{pod['id']}"
        found[key] = _gpu(key, node=pod["node"]) | {"resident": pod["id"], "pod": pod, "owner": "resident"}
    return sorted(found.values(), key=lambda gpu: (str(gpu["node"]), str(gpu["key"])))


def _gpu(key: str, *, node: str) -> Object:
    return {
        "key": key, "node": node, "uuid": None, "name": None, "total": None, "resident": None, "pod": None,
        "owner": "unknown", "job": None, "since": None, "fence": None, "owed": False,
    }  # fmt: skip


def _owner(lease: Object) -> Object:
    kind, _, rest = lease["holder"].partition("/")
    namespace, _, names = rest.partition("/")
    if kind != "yolotrainingjob" or not names:
        return {"owner": "resident", "since": lease["since"], "fence": lease["fence"], "owed": lease["owed"]}
    job = {"namespace": namespace, "name": names.partition("/")[0]}
    return {"owner": "job", "job": job, "since": lease["since"], "fence": lease["fence"]}


def _learn(found: dict[str, Object], job: Object) -> None:
    """Take over what a job says of its GPU; of the owner only where there is no Lease to say it."""
    told, key = job["gpu"], job["gpu"]["uuid"].lower()
    gpu = found.setdefault(key, _gpu(key, node=told["node"] or ""))
    known = {name: told[name] for name in ("uuid", "name", "total", "resident") if told[name] is not None}
    gpu.update(known)
    if gpu["fence"] is None and job["turn"] and job["phase"] in _HOLDS_A_GPU:
        owner = {"namespace": job["namespace"], "name": job["name"]}
        gpu.update(owner="job", job=owner, since=job["turn"]["since"])


def _only_one_on(pods: dict[str, Object], gpu: Object) -> Object | None:
    """Take a resident's pod for that of a GPU whose jobs name another: the only one on its node, or none."""
    here = [each for each in pods.values() if each["node"] == gpu["node"]]
    if len(here) != 1:
        return None
    gpu["resident"] = here[0]["id"]
    return pods.pop(here[0]["id"])
