"""A resident's clocks: how long it may be unloaded, how long it serves in between, and how jobs wait for that."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gpu_relay.api import words
from gpu_relay.api.words import Reason
from gpu_relay.domain.outage import clocks_of, is_exhausted, outage_since, serves_until
from gpu_relay.domain.policy import Policy
from gpu_relay.domain.quantities import timestamp
from gpu_relay.domain.queue.placement import explain_placement, next_for
from tests.support.builders import NOW, ago, candidate, job, lease, report, resident

POLICY = Policy(max_outage=600, min_serve=60, idle_after=30)
LOADED = report(loaded=True, idle_seconds=5)
AT_REST = lease(None, acquired=None)


def test_valid_annotations_override_the_settings() -> None:
    annotations = {words.ANNOTATION_MAX_OUTAGE: "2h", words.ANNOTATION_MIN_SERVE: "soon"}
    theirs = resident(LOADED, annotations=annotations)
    clocks = clocks_of(POLICY, theirs)
    assert (clocks.max_outage, clocks.min_serve) == (timedelta(hours=2), timedelta(seconds=60))
    assert clocks_of(POLICY, None).idle_after == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("out", "served", "exhausted", "serves"),
    [
        (None, None, False, False),
        (599, None, False, False),
        (601, None, True, False),
        (601, 10, True, True),
        (601, 61, False, False),
        (300, 10, False, False),
    ],
)
def test_an_outage_lasts_until_the_resident_has_served(
    out: float | None, served: float | None, exhausted: bool, serves: bool
) -> None:
    lease = replace(
        AT_REST, out_since=None if out is None else ago(out), served_since=None if served is None else ago(served)
    )
    clocks = clocks_of(POLICY, None)
    assert is_exhausted(lease, clocks, NOW) is exhausted
    assert (serves_until(lease, resident(LOADED), clocks, NOW) is not None) is serves
    assert (outage_since(lease, clocks, NOW) is None) is (out is None or served == 61)


def test_an_idle_resident_is_not_kept_loaded_for_min_serve() -> None:
    lease = replace(AT_REST, out_since=ago(900), served_since=ago(1))
    idle = resident(replace(LOADED, idle_seconds=31))
    assert serves_until(lease, idle, clocks_of(POLICY, idle), NOW) is None


def test_a_job_waits_while_the_resident_serves() -> None:
    gpu = candidate(LOADED, lease=replace(AT_REST, out_since=ago(900), served_since=ago(20)))
    placement = explain_placement([job()], [gpu], NOW, POLICY)[0]
    assert (placement.gpu, placement.reason) == (None, Reason.RESIDENT_SERVING)
    assert timestamp(NOW + timedelta(seconds=40)) in placement.message


def test_waiting_for_an_idle_resident_blocks_no_other_job() -> None:
    polite, bold = job(gpu={"memory": "10Gi", "startWhen": "ResidentIdle", "idleFor": "10s"}), job("bold")
    busy, idle = candidate(LOADED), candidate(replace(LOADED, idle_seconds=10))
    assert [p.reason for p in explain_placement([polite, bold], [busy], NOW, POLICY)] == [
        Reason.RESIDENT_BUSY,
        Reason.GPU_LEASED,
    ]
    assert explain_placement([polite], [idle], NOW, POLICY)[0].gpu == idle
    in_flight = candidate(replace(LOADED, idle_seconds=10, in_flight=1))
    assert explain_placement([polite], [in_flight], NOW, POLICY)[0].gpu is None
    assert next_for([polite], busy, NOW, POLICY) is None
    assert next_for([polite], idle, NOW, POLICY) == polite
