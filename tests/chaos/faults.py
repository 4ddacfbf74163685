"""What goes wrong in one run, all of it drawn from a seed: faults of calls, and disasters of processes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.disasters import STRIKES
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
KINDS = (*_ANY, *_API, *_LIST, *_WATCH)
DISASTERS = tuple(STRIKES)
_HOUR = 3600.0


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
    replicas: int
    skews: tuple[float, ...]
    disasters: tuple[tuple[float, str], ...]

    def __str__(self) -> str:
        skews = ", ".join(f"{skew:+.0f} s" for skew in self.skews)
        disasters = ", ".join(f"{name} at {when:.1f} s" for when, name in self.disasters) or "no disasters"
        return (
            f"{self.jobs} jobs, {self.gpus} GPUs, {self.replicas} operators (clocks {skews}), {self.rate:.0%} of "
            f"{', '.join(sorted(self.kinds))}, at most {self.budget}; {disasters}"
        )


def plan_of(seed: int) -> Plan:
    """Draw a run: a few kinds of faults each time, so that runs differ in more than chance (swarm testing)."""
    draw = random.Random(seed)
    replicas = draw.choice([1, 1, 2])
    disasters = ((draw.uniform(0.2, 5.0), draw.choice(DISASTERS)) for _ in range(draw.choice([0, 1, 2, 3])))
    return Plan(
        seed=seed,
        kinds=frozenset(draw.sample(KINDS, draw.randint(2, 7))),
        rate=draw.choice([0.05, 0.1, 0.2, 0.35]),
        budget=draw.randint(5, 30),
        gpus=draw.choice([1, 1, 2]),
        jobs=draw.randint(1, 3),
        replicas=replicas,
        skews=tuple(draw.choice([0.0, 0.0, -_HOUR, _HOUR, 3.0]) for _ in range(replicas)),
        disasters=tuple(sorted(disasters)),
    )


@dataclass
class Weather:
    """Decides the fates of a run's calls. The n-th call of a kind meets the same fate in each replay."""

    plan: Plan
    done: list[str] = field(default_factory=list)
    """What was done to which call."""

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
        return self._possible(call)[kind](draw)

    def _possible(self, call: Call) -> dict[str, _Draw]:
        if call.is_watch:
            return _WATCH
        if call.target == "resident":
            return _ANY
        is_list = call.method == "GET" and call.path.rsplit("/", 1)[-1] in {"pods", "leases", "yolotrainingjobs"}
        return _ANY | (_LIST if is_list else {}) | (_API if call.method in {"PUT", "PATCH"} else {})
