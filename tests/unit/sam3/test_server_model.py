"""The whole server against a model of it: orders late and early, loads slow and failing, deaths, restarts, time.

The server is the real one, spoken to over its routes; its clock, its GPU and its worker processes are the test's (with
real ones: tests/faults/test_sam3_server_model_processes.py). The model is the pure hold book, which has a machine of
its own in test_hold.py, and what memory and time permit.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from residency.hold import Claim, FenceError, RenewKeyError, Terms
from tests.unit.sam3.server_model import ServerUnderTest

HOLDERS = st.sampled_from(["job/a", "job/b"])
FENCES = st.integers(1, 4)
TRAINING_MIB = 10_000
LONGEST_RETRY = 31.0


class ServerMachine(ServerUnderTest):
    """Each rule is one event that the server meets; the model predicts the result."""

    @rule(holder=HOLDERS, fence=FENCES, ttl=st.sampled_from([5.0, 60.0]))
    def unload(self, holder: str, fence: int, ttl: float) -> None:
        terms = Terms(holder, fence, ttl, f"key-{holder}")
        body = {"holder": holder, "fence": fence, "ttl_seconds": ttl, "renew_key": terms.renew_key}
        answer = self.post("unload", body | {"drain_timeout_seconds": 0})
        if self.permitted(lambda: self.book.place(terms, self.clock)):
            assert answer.status_code == 200
            self.is_unloaded()
        else:
            assert answer.status_code == 409

    @precondition(lambda self: self.slow is None)  # it would drain for 20 real seconds
    @rule()
    def unload_without_a_hold(self) -> None:
        assert self.post("unload", None).status_code == 200
        self.is_unloaded()

    @rule(holder=HOLDERS, fence=FENCES)
    def renew(self, holder: str, fence: int) -> None:
        answer = self.post("hold/renew", {"fence": fence, "renew_key": f"key-{holder}"})
        try:
            self.book.renew(fence, f"key-{holder}", self.clock)
            expected = 200
        except FenceError:
            expected = 409
        except RenewKeyError:
            expected = 403
        assert answer.status_code == expected

    @precondition(lambda self: self.slow is None)
    @rule(claim=st.none() | st.builds(Claim, HOLDERS, FENCES))
    def load(self, claim: Claim | None) -> None:
        answer = self.post("load", vars(claim) if claim else None)
        if not self.permitted(lambda: self.book.end(claim, self.clock)):
            assert answer.status_code == 409
            return
        self.loaded, self.wanted = self.loaded or self.fits, not (self.loaded or self.fits)
        assert answer.status_code == (200 if self.loaded else 503)

    @precondition(lambda self: self.slow is None)
    @rule()
    def segment(self) -> None:
        answer = self.run(self.request())
        self.loaded = self.loaded or (not self.held and self.fits)
        self.wanted = self.wanted and not self.loaded
        assert answer.status_code == (200 if self.loaded and not self.held else 503)
        self.require_in_order(answer)

    @precondition(lambda self: self.slow is None and not self.held and not self.loaded and self.fits)
    @rule()
    def begin_a_slow_load(self) -> None:
        self.script.preparing.clear()
        self.slow = self.begin(self.request())
        self.script.inferring.set()

    @precondition(lambda self: self.slow is None and self.loaded)
    @rule()
    def begin_a_slow_answer(self) -> None:
        self.script.inferring.clear()
        self.slow = self.begin(self.request())

    @precondition(lambda self: self.slow is not None)
    @rule()
    def the_slow_one_proceeds(self) -> None:
        assert self.slow is not None
        self.script.preparing.set()
        self.script.inferring.set()
        answer = self.run(self.result(self.slow))
        self.slow = None
        self.loaded = answer.status_code == 200
        assert self.loaded is self.fits
        self.wanted = self.wanted and not self.loaded
        self.require_in_order(answer)

    @precondition(lambda self: self.slow is not None and self.loaded and self.coordinator.loaded)
    @rule(holder=HOLDERS, fence=FENCES)
    def load_while_draining(self, holder: str, fence: int) -> None:
        claim, terms = Claim(holder, fence), Terms(holder, fence, 60.0, "key")
        if not self.permitted(lambda: self.book.place(terms, self.clock)):
            return
        body = {"holder": holder, "fence": fence, "ttl_seconds": 60, "renew_key": "key", "drain_timeout_seconds": 60}
        draining = self.begin(self.client.post("/api/v1/unload", json=body))
        loading = self.begin(self.client.post("/api/v1/load", json=vars(claim)))
        assert not draining.done()
        self.book.end(claim, self.clock)
        self.script.inferring.set()
        assert self.slow is not None
        assert [self.run(self.result(each)).status_code for each in (self.slow, draining, loading)] == [200] * 3
        self.slow, self.loaded, self.wanted = None, True, False

    @precondition(lambda self: self.slow is None)
    @rule(seconds=st.sampled_from([1.0, 5.0, LONGEST_RETRY]))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        self.wanted = self.wanted or self.book.expire(self.clock) is not None
        self.run(self.coordinator.reconcile())
        if not self.held and self.wanted and not self.loaded and self.fits and seconds == LONGEST_RETRY:
            self.loaded = True
        assert self.coordinator.loaded >= self.loaded
        self.loaded = self.coordinator.loaded
        self.wanted = self.wanted and not self.loaded

    @precondition(lambda self: not self.loaded and self.slow is None)
    @rule()
    def training_takes_the_memory(self) -> None:
        self.script.gpu.others = TRAINING_MIB

    @rule()
    def training_gives_it_back(self) -> None:
        self.script.gpu.others = 0

    @rule(index=st.integers(0, 3))
    @precondition(lambda self: self.slow is None)
    def a_worker_dies(self, index: int) -> None:
        alive = [worker for worker in self.script.launched if worker.alive]
        if index < len(alive):
            self.loaded = self.loaded and not alive[index].allocated_mib
            alive[index].die()
            self.run(self.noticed(alive[index]))

    @precondition(lambda self: self.slow is None)
    @rule()
    def the_server_restarts(self) -> None:
        self.run(self.alive.aclose())
        assert self.script.gpu.workers == 0
        assert not any(worker.alive for worker in self.script.launched)
        self.start()

    @invariant()
    def the_server_reports_the_state_of_the_model(self) -> None:
        health = self.run(self.client.get("/health")).json()
        hold = self.book.active(self.clock)
        assert (health["hold"] or {}).get("fence") == (hold.terms.fence if hold else None)
        assert health["model_loaded"] is self.loaded
        assert (self.script.gpu.workers > 0) is self.loaded, "only a loaded model holds memory"

    @invariant()
    def no_model_is_loaded_under_a_hold(self) -> None:
        assert not (self.held and self.coordinator.loaded)

    @invariant()
    def no_worker_is_sent_where_there_is_no_memory(self) -> None:
        assert not self.script.out_of_memory


ServerMachine.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestServerMachine = ServerMachine.TestCase
