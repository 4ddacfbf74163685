"""Phases and conditions, by the kubelet's rules."""

from datetime import UTC, datetime, timedelta

import pytest

from devcluster.process_node.runner import restart_delay
from devcluster.process_node.status import (
    ContainerState,
    PodState,
    Running,
    Terminated,
    Waiting,
    pod_phase,
    recovered,
    restarts,
    timestamp,
)

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAITING, RUNNING = Waiting("ContainerCreating"), Running(T0)
DONE, FAILED = Terminated(0, "Completed", T0, T0), Terminated(1, "Error", T0, T0)
CRASHED = (Waiting("CrashLoopBackOff"), FAILED)
State = Waiting | Running | Terminated | tuple[Waiting, Terminated]


def container(state: State, name: str = "c") -> ContainerState:
    now, last = state if isinstance(state, tuple) else (state, None)
    return ContainerState(name, "image", now, last, ready=isinstance(now, Running))


def pod(policy: str, inits: list[State], mains: list[State]) -> PodState:
    return PodState(policy, list(map(container, inits)), list(map(container, mains)), "127.70.0.1", "127.0.0.1", T0)


@pytest.mark.parametrize(
    ("policy", "inits", "mains", "phase"),
    [
        ("Always", [], [WAITING], "Pending"),
        ("Always", [], [RUNNING, WAITING], "Pending"),
        ("Always", [], [RUNNING], "Running"),
        ("Always", [], [DONE], "Running"),
        ("Always", [], [CRASHED], "Running"),
        ("OnFailure", [], [DONE, DONE], "Succeeded"),
        ("OnFailure", [], [DONE, RUNNING], "Running"),
        ("OnFailure", [], [DONE, FAILED], "Running"),
        ("OnFailure", [], [CRASHED], "Running"),
        ("Never", [], [DONE], "Succeeded"),
        ("Never", [], [DONE, FAILED], "Failed"),
        ("Never", [], [FAILED, RUNNING], "Running"),
        ("Never", [RUNNING], [WAITING], "Pending"),
        ("Never", [DONE, WAITING], [WAITING], "Pending"),
        ("Never", [FAILED, WAITING], [WAITING], "Failed"),
        ("OnFailure", [FAILED], [WAITING], "Pending"),
        ("Always", [CRASHED], [WAITING], "Pending"),
        ("Always", [DONE], [RUNNING], "Running"),
    ],
)
def test_phases(policy: str, inits: list[State], mains: list[State], phase: str) -> None:
    assert pod_phase(pod(policy, inits, mains)) == phase


def test_a_reason_means_failed() -> None:
    state = pod("Always", [], [RUNNING])
    state.reason, state.message = "DeadlineExceeded", "too long"
    shown = state.as_object(T0)
    assert (shown["phase"], shown["reason"], shown["message"]) == ("Failed", "DeadlineExceeded", "too long")


def conditions(state: PodState, now: datetime = T0) -> dict[str, tuple[str, str | None, str]]:
    shown = state.as_object(now)["conditions"]
    return {each["type"]: (each["status"], each["reason"], each["lastTransitionTime"]) for each in shown}


def test_conditions_follow_the_containers() -> None:
    state = pod("Never", [], [RUNNING])
    moment = timestamp(T0)
    assert conditions(state) == {
        "PodReadyToStartContainers": ("True", None, moment),
        "Initialized": ("True", None, moment),
        "Ready": ("True", None, moment),
        "ContainersReady": ("True", None, moment),
    }
    state.mains[0].ready = False
    later = T0 + timedelta(seconds=9)
    assert conditions(state, later)["Ready"] == ("False", "ContainersNotReady", timestamp(later))
    assert conditions(state, later)["Initialized"] == ("True", None, moment), "what did not change keeps its time"
    state.mains[0].now = DONE
    assert conditions(state, later + timedelta(seconds=1))["Ready"] == ("False", "PodCompleted", timestamp(later))


def test_conditions_while_initializing() -> None:
    shown = conditions(pod("Never", [RUNNING], [WAITING]))
    assert shown["Initialized"][:2] == ("False", "ContainersNotInitialized")
    assert conditions(pod("Never", [FAILED], [WAITING]))["Ready"][1] == "PodFailed"


def test_a_status_as_the_api_takes_it() -> None:
    state = pod("Never", [DONE], [RUNNING])
    state.mains[0].container_id = "process://1"
    state.mains[0].last, state.mains[0].restarts = FAILED, 2
    shown = state.as_object(T0)
    assert shown["podIPs"] == [{"ip": "127.70.0.1"}]
    assert shown["containerStatuses"] == [
        {
            "name": "c",
            "image": "image",
            "imageID": "process://image",
            "containerID": "process://1",
            "restartCount": 2,
            "ready": True,
            "started": False,
            "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}},
            "lastState": {
                "terminated": {
                    "exitCode": 1,
                    "reason": "Error",
                    "startedAt": "2026-01-02T03:04:05Z",
                    "finishedAt": "2026-01-02T03:04:05Z",
                }
            },
        }
    ]


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(policy: str, code: int, expected: bool) -> None:
    assert restarts(policy, code) == expected


def test_delays_double_up_to_five_minutes() -> None:
    assert [restart_delay(crashes, 10) for crashes in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert restart_delay(10_000, 10) == 300


SPEC = {"name": "c", "image": "image"}


def test_what_ran_when_the_node_ended_is_terminated() -> None:
    before = container(RUNNING)
    before.restarts, before.container_id = 3, "process://1"
    after = recovered(SPEC, before.as_object(), T0)
    assert isinstance(after.now, Terminated)
    assert (after.now.exit_code, after.now.reason, after.restarts) == (137, "ContainerStatusUnknown", 3)


@pytest.mark.parametrize("state", [DONE, FAILED, WAITING, CRASHED])
def test_everything_else_is_recovered_as_it_was(state: State) -> None:
    before = container(state)
    after = recovered(SPEC, before.as_object(), T0)
    assert (after.last, after.restarts) == (before.last, before.restarts)
    assert after.now == (before.now if isinstance(before.now, Terminated) else WAITING)


def test_a_new_container_waits() -> None:
    assert recovered(SPEC, None, T0).now == WAITING
