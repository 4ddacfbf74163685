"""Whatever a Workload of Kueue holds, it can be shown, and steers no terminal."""

import copy
import io
import json
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import reduce
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_relay.domain.objects.listed_workload import listed_workload_of
from gpu_relay.overview.gpus import gpus_of
from gpu_relay.overview.jobs import jobs_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import timeline_of
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.views.explain_workload import explain_workload
from relay_page import workloads
from tests.unit.kubectl_relay.relay_workloads import CHECK, leased, raw_workload, workload
from tests.unit.kubectl_relay.relay_world import GPU, NOW, lease

Path = tuple[str | int, ...]
ENDED = {"QuotaReserved": "QuotaReserved", "Finished": "Succeeded"}
RAW = raw_workload(state="Ready", conditions=ENDED)
TEXTS = st.sampled_from(
    ["", "\x1b[2J", "\u202egpj", "[bold]no markup[/]", "2026-01-01T11:00:00Z", "9999-99-99", "True", "-1"]
)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), TEXTS, st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)  # fmt: skip
GIVEN_BY_THE_API_SERVER = {
    ("metadata", name) for name in ("namespace", "name", "uid", "resourceVersion", "creationTimestamp")
}


def paths(value: Any, here: Path = ()) -> Iterator[Path]:
    """Yield the path of every field."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*here, key)
        yield from paths(each, (*here, key))


PATHS = [each for each in paths(RAW) if each not in GIVEN_BY_THE_API_SERVER and each != ("metadata",)]


def child(at: Any, key: str | int) -> Any:
    """Return a part of a value; None where it has none of this key."""
    if isinstance(at, dict):
        return at.get(key)
    return at[key] if isinstance(at, list) and isinstance(key, int) and key < len(at) else None


def changed(changes: list[tuple[Path, Any]]) -> dict[str, Any]:
    """Return a Workload with other values in some fields, as far as they still exist."""
    raw = copy.deepcopy(RAW)
    for (*way, last), value in changes:
        at: Any = reduce(child, way, raw)
        if child(at, last) is not None:
            at[last] = value
    return raw


@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK), max_size=3), st.sampled_from([None, {CHECK}]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_workload_can_be_shown(changes: list[tuple[Path, Any]], checks: set[str] | None, owns: bool) -> None:
    listed = listed_workload_of(changed(changes), checks)
    if listed is None:
        return
    leases = leased(workload()) if owns else {GPU: lease()}
    for known in (leases, None):
        snapshot = ClusterSnapshot(NOW, workloads=(listed,), leases=known)
        stream = io.StringIO()
        console = output(stream)
        console.print(gpu_cards(snapshot))
        show_jobs(console, jobs_of(snapshot), snapshot)
        show_timeline(console, timeline_of(snapshot))
        explanation = explain_workload(snapshot, listed)
        show_explanation(console, explanation, NOW)
        with redirect_stdout(stream):
            for view in (gpus_of(snapshot), jobs_of(snapshot), timeline_of(snapshot), explanation):
                say(dumped(view, "json"))
        shown = stream.getvalue()
        assert not [each for each in shown if unicodedata.category(each) == "Cc" and each != "\n"]
        assert "\u202e" not in shown
        json.dumps([workloads.rows([listed], [], known, everywhere=True), workloads.details(listed, known)])
