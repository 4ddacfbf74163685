"""What goes wrong in one run, drawn from a seed: faults of calls, disasters of processes, events of a cluster."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.chaos.disasters import STRIKES
from tests.chaos.events import ALL_EVENTS, EVENTS, WORKLOAD_EVENTS
from tests.chaos.happenings import Happenings
from tests.chaos.proxy import UNTOUCHED, Call, Canned, Fate

_Draw = Callable[[random.Random], Fate]


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> _Draw:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason,
            "message": f"injected: {reason}", "detail": f"injected: {reason}"}  # fmt: skip
    return lambda _: Fate(instead=Canned(status, body, headers or {}))


_ANY: dict[str, _Draw] = {
    "lost request": lambda _: Fate(lose_request=True),
    "lost answer": lambda _: Fate(lose_answer=True),
    "slow request": lambda draw: Fate(delay=draw.uniform(0.05, 1.0)),
    "slow answer": lambda draw: Fate(answer_delay=draw.uniform(0.05, 1.0)),
    "late request": lambda draw: Fate(delay=draw.uniform(3.2, 5.0)),  # the caller has given up by then
    "half-open before": lambda _: Fate(hang=True),
    "half-open after": lambda _: Fate(hang_answer=True),
    "500": _refused(500, "InternalError"),
    "503": _refused(503, "ServiceUnavailable"),
    "429": _refused(429, "TooManyRequests", {"Retry-After": "1"}),
}
_API: dict[str, _Draw] = {"409": _refused(409, "Conflict")}
_LIST: dict[str, _Draw] = {"stale list": lambda _: Fate(stale=True), "410": _refused(410, "Expired")}
_WATCH: dict[str, _Draw] = {
    "watch cut": lambda draw: Fate(watch_events=draw.randint(0, 6)),
    "watch silent": lambda draw: Fate(watch_events=draw.randint(0, 6), watch_silent=True),
    "watch 410": _refused(410, "Expired"),
    "watch 429": _refused(429, "TooManyRequests", {"Retry-After": "1"}),
    "watch 500": _refused(500, "InternalError"),
}
_LISTED = frozenset({"pods", "leases", "yolotrainingjobs", "workloads", "admissionchecks"})
KINDS = (*_ANY, *_API, *_LIST, *_WATCH)
DISASTERS = tuple(STRIKES)
_HOUR = 3600.0
_LONG = 3.0
_LATER = 2.0
_EFFECT = 10.0
"""Seconds in which a fault of a call may have an effect: a delay, a retry, the LIST that finds what a watch missed."""


@dataclass(frozen=True)
class Plan:
    """One run. Times in seconds from its beginning."""

    seed: int
    kinds: frozenset[str]
    rate: float
    budget: int
    """Faults of calls until the weather is calm."""
    gpus: int
    jobs: int
    training: float
    """Seconds that a training takes."""
    replicas: int
    skews: tuple[float, ...]
    disasters: tuple[tuple[float, str], ...]
    events: tuple[tuple[float, str], ...]
    bystander_at: float
    """When the job of the other namespace is created."""
    preparations: int
    """How many jobs' data the operator has prepared at a time; 0: none."""
    plain: int = 0
    """How many of the jobs are plain Jobs, which take turns through Kueue."""
    wide: int = 0
    """How many of the plain Jobs have two pods, each on a GPU and a node of its own."""
    quota: int = 0
    """GPUs of the plain Jobs' ClusterQueue; 0: none, since there are none."""

    @property
    def calm(self) -> bool:
        """True where nothing goes wrong but the events."""
        return self.rate == 0 and not self.disasters

    def __str__(self) -> str:
        skews = ", ".join(f"{skew:+.0f} s" for skew in self.skews)
        befalls = sorted([*self.disasters, *self.events])
        disasters = ", ".join(f"{name} at {when:.1f} s" for when, name in befalls) or "no disasters"
        plain = f" ({self.plain} of them plain, {self.wide} on two GPUs, quota {self.quota})" if self.plain else ""
        return (
            f"{self.jobs} jobs{plain} of {self.training:.0f} s and one of a bystander at {self.bystander_at:.1f} s, "
            f"{self.preparations} preparations, "
            f"{self.gpus} GPUs, {self.replicas} operators (clocks {skews}), {self.rate:.0%} of "
            f"{', '.join(sorted(self.kinds))}, at most {self.budget}; {disasters}"
        )


def plan_of(seed: int) -> Plan:
    """Draw a run: a few kinds of faults each time, so that runs differ in more than chance (swarm testing)."""
    draw = random.Random(seed)
    replicas = draw.choice([1, 1, 2])
    disasters = [(draw.uniform(0.2, 5.0), draw.choice(DISASTERS)) for _ in range(draw.choice([0, 0, 1, 2, 3]))]
    events = [(draw.uniform(0.2, 5.0), name) for name in draw.sample(tuple(EVENTS), draw.choice([0, 1, 1, 2]))]
    needs = [EVENTS[name] for _, name in events]
    return Plan(
        seed=seed,
        kinds=frozenset(draw.sample(KINDS, draw.randint(2, 7))),
        rate=draw.choice([0.0, 0.05, 0.1, 0.2, 0.35]),
        budget=draw.randint(5, 30),
        gpus=max([draw.choice([1, 1, 2]), *(need.gpus for need in needs)]),
        jobs=draw.randint(1, 3),
        training=draw.choice([1.0, 1.0, _LONG]),
        replicas=replicas,
        skews=tuple(draw.choice([0.0, 0.0, -_HOUR, _HOUR, 3.0]) for _ in range(replicas)),
        disasters=tuple(sorted(disasters)),
        events=tuple(sorted(events)),
        bystander_at=draw.uniform(0.5, 5.0),
        preparations=max([draw.choice([0, 0, 2]), *(need.preparations for need in needs)]),
    )


def plan_with(seed: int, event: str) -> Plan:
    """Draw a run in which nothing goes wrong but one event, at its moment; the bystander's job comes after it."""
    plan, need = plan_of(seed), ALL_EVENTS[event]
    when = random.Random(seed).uniform(3.0, 6.0)
    return replace(
        plan,
        rate=0.0,
        training=_LONG,
        gpus=max(plan.gpus, need.gpus),
        disasters=(),
        events=((when, event),),
        bystander_at=when + _LATER,
        preparations=max(plan.preparations, need.preparations),
    )


def with_workloads(plan: Plan, *, more_events: bool = True) -> Plan:
    """Return the same run with plain Jobs among the tenant's jobs, and with events of their Workloads."""
    draw = random.Random(f"{plan.seed}/workloads")
    more = draw.sample(tuple(WORKLOAD_EVENTS), draw.choice([0, 1, 1, 2])) if more_events else []
    events = [*plan.events, *((draw.uniform(0.2, 8.0), name) for name in more)]
    plain, quota = draw.randint(1, plan.jobs), draw.choice([plan.gpus, plan.jobs + plan.gpus])
    wide = draw.randint(0, plain) if plan.gpus > 1 else 0
    return replace(plan, plain=plain, quota=quota, wide=wide, events=tuple(sorted(events)))


@dataclass
class Weather:
    """Decides the fates of a run's calls. The n-th call of a kind meets the same fate in each replay."""

    plan: Plan
    done: list[str] = field(default_factory=list)
    """What was done to which call."""
    happenings: Happenings = field(default_factory=Happenings)

    def decide(self, call: Call) -> Fate:
        """Draw a call's fate."""
        if len(self.done) >= self.plan.budget:
            return UNTOUCHED
        draw = random.Random(f"{self.plan.seed}/{call.operator}/{call.kind}/{call.number}")
        choices = sorted(self.plan.kinds & self._possible(call).keys())
        if not choices or draw.random() >= self.plan.rate:
            return UNTOUCHED
        kind = draw.choice(choices)
        self.done.append(f"{call.operator} {call.kind} #{call.number}: {kind}")
        now = time.monotonic()
        self.happenings.everyone.append((now, now + _EFFECT))
        return self._possible(call)[kind](draw)

    def _possible(self, call: Call) -> dict[str, _Draw]:
        if call.is_watch:
            return _WATCH
        if call.target == "resident":
            return _ANY
        is_list = call.method == "GET" and call.path.rsplit("/", 1)[-1] in _LISTED
        return _ANY | (_LIST if is_list else {}) | (_API if call.method in {"PUT", "PATCH"} else {})
