"""Fences, holds and time: by example, then against a model by random sequences of calls."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from residency.hold import Claim, FenceError, Hold, HoldBook, RenewKeyError, Terms


def terms(holder: str = "job/a", fence: int = 1, ttl: float = 60.0, key: str = "secret") -> Terms:
    return Terms(holder, fence, ttl, key)


def test_a_hold_lives_until_its_ttl_and_not_a_moment_longer() -> None:
    book = HoldBook()
    book.place(terms(ttl=60), now=100.0)
    assert book.active(159.9) is not None
    assert book.active(160.0) is None
    assert book.expire(159.9) is None
    expired = book.expire(160.0)
    assert expired is not None
    assert expired.claim == Claim("job/a", 1)
    assert book.expire(161.0) is None


def test_repeating_the_order_replaces_key_and_ttl_and_keeps_its_age() -> None:
    book = HoldBook()
    book.place(terms(ttl=60, key="old"), now=0.0)
    hold = book.place(terms(ttl=10, key="new"), now=5.0)
    assert (hold.placed_at, hold.expires_at) == (0.0, 15.0)
    with pytest.raises(RenewKeyError):
        book.renew(1, "old", 6.0)
    assert book.renew(1, "new", 6.0).expires_at == 16.0


def test_the_ttl_counts_from_the_end_of_the_unload() -> None:
    book = HoldBook()
    book.place(terms(ttl=60), now=0.0)
    book.begin_unload(now=0.0)
    hold = book.active(1000.0)
    assert hold is not None
    assert hold.expires_in(1000.0) == 60
    assert book.expire(1000.0) is None
    assert book.renew(1, "secret", 1000.0).expires_at == 1060.0
    book.end_unload(now=1010.0)
    assert book.active(1069.9) is not None
    assert book.active(1070.0) is None


def test_the_ttl_counts_from_the_end_of_the_last_of_several_unloads() -> None:
    book = HoldBook()
    book.place(terms(fence=1), now=0.0)
    book.begin_unload(now=0.0)
    book.place(terms(fence=2, ttl=10), now=5.0)
    book.begin_unload(now=5.0)
    book.end_unload(now=100.0)
    assert book.active(200.0) is not None
    book.end_unload(now=200.0)
    assert book.active(209.9) is not None
    assert book.active(210.0) is None


def test_an_unload_revives_no_hold_that_expired_or_was_ended() -> None:
    book = HoldBook()
    book.place(terms(ttl=5), now=0.0)
    book.begin_unload(now=6.0)
    assert book.active(6.0) is None
    book.end_unload(now=7.0)
    book.place(terms(fence=2), now=7.0)
    book.begin_unload(now=7.0)
    book.end(Claim("job/a", 2), now=8.0)
    book.end_unload(now=9.0)
    assert book.active(9.0) is None


@pytest.mark.parametrize(
    ("late", "says"),
    [(terms(fence=4), "newest seen is 5"), (terms(holder="job/b", fence=5), "belongs to job/a")],
    ids=["an older fence", "the newest fence in another name"],
)
def test_an_order_that_is_not_the_newest_is_refused(late: Terms, says: str) -> None:
    book = HoldBook()
    hold = book.place(terms(fence=5), now=0.0)
    with pytest.raises(FenceError, match=says):
        book.place(late, now=1.0)
    assert book.active(1.0) is hold


def test_a_fence_stays_over_after_its_hold_is() -> None:
    book = HoldBook()
    book.place(terms(fence=5), now=0.0)
    book.end(Claim("job/a", 5), now=1.0)
    with pytest.raises(FenceError):
        book.place(terms(fence=4), now=2.0)


@pytest.mark.parametrize(
    ("claim", "passes"),
    [
        (Claim("job/a", 5), True),
        (Claim("job/b", 5), False),
        (Claim("job/a", 4), False),
        (Claim("job/a", 6), False),
        (None, False),
    ],
    ids=["its own", "another holder", "an older fence", "a newer fence", "no holder"],
)
def test_only_its_holder_ends_a_hold(claim: Claim | None, passes: bool) -> None:
    book = HoldBook()
    book.place(terms(fence=5), now=0.0)
    if passes:
        book.end(claim, now=1.0)
    else:
        with pytest.raises(FenceError, match="job/a holds the GPU with fence 5"):
            book.end(claim, now=1.0)
    assert (book.active(1.0) is None) is passes


def test_a_restarted_server_accepts_the_end_of_a_turn_it_never_saw() -> None:
    book = HoldBook()
    book.end(Claim("job/a", 7), now=0.0)
    with pytest.raises(FenceError):
        book.place(terms(fence=6), now=1.0)


@pytest.mark.parametrize(
    ("fence", "key", "error"),
    [(2, "secret", FenceError), (1, "guess", RenewKeyError), (1, "secrét", RenewKeyError)],
)
def test_a_renewal_needs_fence_and_key(fence: int, key: str, error: type[Exception]) -> None:
    book = HoldBook()
    hold = book.place(terms(), now=0.0)
    with pytest.raises(error):
        book.renew(fence, key, now=1.0)
    assert book.active(1.0) is hold


def test_an_expired_hold_cannot_be_renewed() -> None:
    book = HoldBook()
    book.place(terms(ttl=60), now=0.0)
    with pytest.raises(FenceError, match="no hold to renew"):
        book.renew(1, "secret", now=60.0)


class HoldMachine(RuleBasedStateMachine):
    """Orders of several holders, late and early, against what the contract says about them."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.book = HoldBook()
        self.now = 0.0
        self.newest: Claim | None = None
        self.expected: Hold | None = None

    @rule(target=orders, holder=st.sampled_from("abc"), fence=st.integers(0, 5), ttl=st.sampled_from([1.0, 10.0, 60.0]))
    def send(self, holder: str, fence: int, ttl: float) -> Terms:
        return Terms(holder, fence, ttl, f"key-{holder}-{fence}")

    @rule(order=orders)
    def arrives(self, order: Terms) -> None:
        claim = Claim(order.holder, order.fence)
        if self.current(claim):
            hold = self.book.place(order, self.now)
            assert hold.expires_at == self.now + order.ttl_seconds
            self.newest, self.expected = claim, hold
        else:
            with pytest.raises(FenceError):
                self.book.place(order, self.now)

    @rule(order=orders)
    def renewed(self, order: Terms) -> None:
        if self.expected is not None and self.expected.terms.fence == order.fence:
            key = self.expected.terms.renew_key
            self.expected = self.book.renew(order.fence, key, self.now)
            assert self.expected.expires_at == self.now + self.expected.terms.ttl_seconds
        else:
            with pytest.raises(FenceError):
                self.book.renew(order.fence, order.renew_key, self.now)

    @rule(order=consumes(orders))
    def ended(self, order: Terms) -> None:
        claim = Claim(order.holder, order.fence)
        allowed = self.expected.claim == claim if self.expected is not None else self.current(claim)
        if allowed:
            self.book.end(claim, self.now)
            self.newest, self.expected = claim, None
        else:
            with pytest.raises(FenceError):
                self.book.end(claim, self.now)

    @rule(seconds=st.sampled_from([0.5, 1.0, 9.5, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.expected is not None and self.now >= self.expected.expires_at:
            self.expected = None

    @rule()
    def swept(self) -> None:
        self.book.expire(self.now)

    @invariant()
    def the_hold_is_the_newest_accepted(self) -> None:
        assert self.book.active(self.now) == self.expected
        assert self.expected is None or self.expected.claim == self.newest

    def current(self, claim: Claim) -> bool:
        newest = self.newest
        return newest is None or claim.fence > newest.fence or claim == newest


HoldMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestHoldMachine = HoldMachine.TestCase
