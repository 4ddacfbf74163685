"""A pod's status from the states of its containers: phase, conditions, container statuses. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Object = dict[str, Any]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"
#: The exit code of a container whose end was not observed, and the reason that goes with it (the kubelet's).
UNKNOWN_EXIT, UNKNOWN_REASON = 137, "ContainerStatusUnknown"


@dataclass(frozen=True)
class Waiting:
    """Why a container does not run yet."""

    reason: str
    message: str = ""

    def as_object(self) -> Object:
        """Return the API's form."""
        return {"waiting": _filled(reason=self.reason, message=self.message)}


@dataclass(frozen=True)
class Running:
    """Since when a container runs."""

    since: datetime

    def as_object(self) -> Object:
        """Return the API's form."""
        return {"running": {"startedAt": timestamp(self.since)}}


@dataclass(frozen=True)
class Terminated:
    """How a container ended."""

    exit_code: int
    reason: str
    started: datetime
    finished: datetime
    message: str = ""
    container_id: str = ""

    def as_object(self) -> Object:
        """Return the API's form."""
        return {
            "terminated": _filled(
                exitCode=self.exit_code,
                reason=self.reason,
                message=self.message,
                startedAt=timestamp(self.started),
                finishedAt=timestamp(self.finished),
                containerID=self.container_id,
            )
        }


@dataclass
class ContainerState:
    """Everything that is reported of a container."""

    name: str
    image: str
    now: Waiting | Running | Terminated
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""

    @property
    def ended(self) -> Terminated | None:
        """How it ended, when it does not run: while it waits to be started again, how it ended last."""
        if isinstance(self.now, Terminated):
            return self.now
        return self.last if isinstance(self.now, Waiting) else None

    def as_object(self) -> Object:
        """Return the API's form."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"process://{self.image}" if self.container_id else "",
            **_filled(containerID=self.container_id),
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": self.started,
            "state": self.now.as_object(),
            "lastState": self.last.as_object() if self.last else {},
        }


@dataclass
class PodState:
    """Everything that is reported of a pod. `reason`, when set, is why it failed as a whole."""

    restart_policy: str
    inits: Sequence[ContainerState]
    mains: Sequence[ContainerState]
    ip: str
    host_ip: str
    started: datetime
    generation: int = 0
    reason: str = ""
    message: str = ""
    conditions: list[Object] = field(default_factory=list)

    def as_object(self, now: datetime) -> Object:
        """Return the API's form; the times of conditions that did not change are kept for the next call."""
        phase = pod_phase(self)
        self.conditions = _conditions(self, phase, now)
        return {
            **_filled(reason=self.reason, message=self.message, observedGeneration=self.generation),
            "phase": phase,
            "hostIP": self.host_ip,
            "hostIPs": [{"ip": self.host_ip}],
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": timestamp(self.started),
            "conditions": self.conditions,
            **({"initContainerStatuses": [state.as_object() for state in self.inits]} if self.inits else {}),
            "containerStatuses": [state.as_object() for state in self.mains],
        }


def restarts(policy: str, exit_code: int) -> bool:
    """Say whether a container that ended so is started again."""
    return policy == ALWAYS or (policy == ON_FAILURE and exit_code != 0)


def pod_phase(pod: PodState) -> Phase:
    """Return the phase, by the kubelet's rules."""
    if pod.reason:
        return "Failed"
    for state in pod.inits:
        if state.ended is None or state.ended.exit_code != 0:
            failed = isinstance(state.now, Terminated) and not restarts(pod.restart_policy, state.now.exit_code)
            return "Failed" if failed else "Pending"
    ends = [state.ended for state in pod.mains]
    if any(end is None and isinstance(state.now, Waiting) for state, end in zip(pod.mains, ends, strict=True)):
        return "Pending"
    codes = [end.exit_code for end in ends if end is not None]
    if len(codes) < len(ends) or any(restarts(pod.restart_policy, code) for code in codes):
        return "Running"
    return "Failed" if any(codes) else "Succeeded"


def _conditions(pod: PodState, phase: Phase, now: datetime) -> list[Object]:
    over = phase in ("Succeeded", "Failed")
    initialized = phase == "Succeeded" or all(
        isinstance(state.now, Terminated) and state.now.exit_code == 0 for state in pod.inits
    )
    unready = [state.name for state in pod.mains if not state.ready]
    why = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else "ContainersNotReady"
    about = f"containers with unready status: [{' '.join(unready)}]" if unready and not over else ""
    ready = not unready and not over
    wanted = [
        ("PodReadyToStartContainers", not over, "", ""),
        ("Initialized", initialized, "" if initialized else "ContainersNotInitialized", ""),
        ("Ready", ready, "" if ready else why, about),
        ("ContainersReady", ready, "" if ready else why, about),
    ]
    known = {condition["type"]: condition for condition in pod.conditions}
    return [_condition(known.get(kind), kind, value, reason, message, now) for kind, value, reason, message in wanted]


def _condition(former: Object | None, kind: str, value: bool, reason: str, message: str, now: datetime) -> Object:
    status = "True" if value else "False"
    same = former is not None and former["status"] == status
    since = former["lastTransitionTime"] if former and same else timestamp(now)
    # null, not left out: a merge keeps what is not named
    return {
        "type": kind,
        "status": status,
        "reason": reason or None,
        "message": message or None,
        "lastTransitionTime": since,
    }


def recovered(spec: Object, status: Object | None, now: datetime) -> ContainerState:
    """Return the state of a container as the API has it from an earlier life of the node.

    What ran then has ended with that node, and its end was not observed.
    """
    state = ContainerState(spec["name"], spec.get("image", ""), Waiting("ContainerCreating"))
    if status is None:
        return state
    state.restarts = status.get("restartCount", 0)
    state.container_id = status.get("containerID", "")
    state.last = _terminated(status.get("lastState", {}).get("terminated"))
    if ended := _terminated(status.get("state", {}).get("terminated")):
        state.now = ended
    elif running := status.get("state", {}).get("running"):
        message = "the node ended while this container ran"
        since = _time(running["startedAt"])
        state.now = Terminated(UNKNOWN_EXIT, UNKNOWN_REASON, since, now, message, state.container_id)
    return state


def timestamp(moment: datetime) -> str:
    """Return the API's form of a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _terminated(ended: Object | None) -> Terminated | None:
    if ended is None:
        return None
    started, finished = (_time(ended.get(key) or "1970-01-01T00:00:00Z") for key in ("startedAt", "finishedAt"))
    return Terminated(
        ended["exitCode"],
        ended.get("reason", ""),
        started,
        finished,
        ended.get("message", ""),
        ended.get("containerID", ""),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _filled(**fields: Any) -> Object:
    """Leave out what is empty; zero is a value."""
    return {name: value for name, value in fields.items() if value not in ("", None)}
