"""Leader election: never two leaders, with any clocks, delays and lost answers, and no needless wait."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.domain.objects.leader import LeaderRecord
from gpu_relay.leaderelection.candidacy import Candidacy

DURATION = 12.0


def record(version: int, holder: str, duration: float = DURATION) -> LeaderRecord:
    return LeaderRecord(str(version), holder, duration, 0)


def test_a_free_lease_is_taken_at_once() -> None:
    for free in (None, record(1, ""), record(1, "me")):
        me = Candidacy("me", DURATION)
        me.see(free, 100)
        assert me.wait(100) <= 0


def test_another_holders_term_counts_from_its_last_change() -> None:
    me = Candidacy("me", DURATION)
    me.see(record(1, "other", 30), 100)
    me.see(record(1, "other", 30), 110)
    assert me.wait(110) == 20, "the holder's own duration counts, from the first sight of this version"
    me.see(record(2, "other", 30), 129)
    assert me.wait(129) == 30


def test_a_deleted_lease_shortens_no_term() -> None:
    me = Candidacy("me", DURATION)
    me.see(record(1, "other"), 100)
    me.see(None, 105)
    assert me.wait(105) == DURATION
    assert me.leader == "other"


def test_a_renewal_counts_from_when_it_was_asked_for() -> None:
    me = Candidacy("me", DURATION)
    me.won(record(1, "me"), asked_at=100, now=107)
    assert me.lead_left(107) == 1
    me.stood_down()
    assert me.lead_left(100) < 0


@dataclass
class Replica:
    """An operator whose clock runs at its own rate from its own zero, and which tries to lead."""

    me: Candidacy
    rate: float
    zero: float

    def clock(self, time: float) -> float:
        return self.zero + self.rate * time

    def leads(self, time: float) -> bool:
        return self.me.lead_left(self.clock(time)) > 0


@dataclass
class Server:
    """The API server: the newest record, and when it was written."""

    newest: LeaderRecord | None = None
    writes: int = 0
    log: list[tuple[float, float, Replica]] = field(default_factory=list)

    def swap(self, before: LeaderRecord | None, holder: str) -> LeaderRecord | None:
        if (before and before.version) != (self.newest and self.newest.version):
            return None
        self.writes += 1
        self.newest = record(self.writes, holder)
        return self.newest


delays = st.sampled_from([0.0, 0.01, 0.5, 2.0, 7.0, 20.0])
attempts = st.tuples(
    st.integers(0, 2),  # who
    st.sampled_from([0.1, 1.0, 2.0, 5.0, 13.0]),  # seconds since the last attempt of any candidate
    delays,  # from reading to asking
    delays,  # from asking to the write
    delays,  # from the write to the answer
    st.booleans(),  # whether the answer is lost
    st.sampled_from([False] * 9 + [True]),  # whether a user deletes the Lease before
)


@given(
    st.lists(attempts, min_size=2, max_size=25),
    st.lists(st.floats(0.97, 1.03), min_size=3, max_size=3),
    st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
)
def test_never_two_leaders(
    schedule: list[tuple[int, float, float, float, float, bool, bool]], rates: list[float], zeros: list[float]
) -> None:
    """Run attempts as a queue of timed steps; after each step there is at most one leader.

    A user deletes the Lease once: no candidate can notice one that appears and disappears between two reads.
    """
    first_deletion = next((number for number, attempt in enumerate(schedule) if attempt[-1]), None)
    replicas = [Replica(Candidacy(f"r{i}", DURATION), rates[i], zeros[i]) for i in range(3)]
    server, steps, time = Server(record(1, ""), 1), [], 0.0
    for each in replicas:  # a candidate that has never seen a Lease cannot know that one was deleted
        each.me.see(server.newest, each.clock(0))
    for number, (who, pause, ask, write, answer, lost, _) in enumerate(schedule):
        time += pause
        each = replicas[who]
        plan: dict[str, object] = {"replica": each, "lost": lost, "deleted": number == first_deletion}
        for kind, moment in (
            ("read", time),
            ("ask", time + ask),
            ("write", time + ask + write),
            ("answer", time + ask + write + answer),
        ):
            steps.append((moment, number, kind, plan))
    for moment, _, kind, plan in sorted(steps, key=lambda step: step[:2]):
        take_step(server, kind, moment, plan)
        for instant in (moment, moment + 1e-6):
            leaders = [each for each in replicas if each.leads(instant)]
            assert len(leaders) < 2, f"{[each.me.identity for each in leaders]} lead at {moment}"


def take_step(server: Server, kind: str, time: float, plan: dict[str, object]) -> None:
    each = plan["replica"]
    assert isinstance(each, Replica)
    now = each.clock(time)
    match kind:
        case "read":
            if plan["deleted"]:
                server.newest = None
            each.me.see(server.newest, now)
        case "ask":
            plan["asked"] = now if each.me.wait(now) <= 0 else None
            plan["before"] = each.me.record
        case "write" if plan["asked"] is not None:
            before = plan["before"]
            assert before is None or isinstance(before, LeaderRecord)
            plan["won"] = server.swap(before, each.me.identity)
        case "answer" if not plan["lost"] and isinstance(plan.get("won"), LeaderRecord):
            won, asked = plan["won"], plan["asked"]
            assert isinstance(won, LeaderRecord)
            assert isinstance(asked, float)
            each.me.won(won, asked, now)
        case _:
            pass
