"""The cache against any race between a watch and a full list: what it holds in the end is what there is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpu_relay.controllers.runtime.store import Cache, Store

_UIDS = ("a", "b", "c")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, bool]]:
    """Draw what happens to objects, in order: (UID, whether it is deleted); what is deleted does not come back."""
    deleted: set[str] = set()
    history = []
    for uid, ends in draw(st.lists(st.tuples(st.sampled_from(_UIDS), st.booleans()), max_size=12)):
        if uid in deleted:
            continue
        history.append((uid, ends))
        deleted |= {uid} if ends else set()
    return history


def _state(history: list[tuple[str, bool]]) -> dict[str, int]:
    state: dict[str, int] = {}
    for version, (uid, ends) in enumerate(history):
        state.pop(uid, None)
        if not ends:
            state[uid] = version
    return state


@given(history=histories(), data=st.data())
def test_no_race_of_watch_and_list_leaves_a_ghost_or_a_gap(
    history: list[tuple[str, bool]], data: st.DataObject
) -> None:
    asked = data.draw(st.integers(0, len(history)), "events that the watch has sent when the list is asked for")
    answered = data.draw(st.integers(asked, len(history)), "events sent when its answer is taken in")
    listed = data.draw(st.integers(asked, len(history)), "events that the list shows")
    store: Store[int] = Store()
    part = store.part(lambda version: version % 2 == 0)

    def send(first: int, end: int) -> None:
        for version in range(first, end):
            uid, ends = history[version]
            if ends:
                store.remove(uid, str(version))
            else:
                store.put(uid, str(version), version)

    send(0, asked)
    known = store.begin_relist()
    send(asked, answered)
    shown = _state(history[:listed])
    for uid, version in shown.items():
        store.put(uid, str(version), version)
    store.end_relist(set(shown), known)
    send(answered, len(history))
    assert sorted(store.values()) == sorted(_state(history).values())
    assert sorted(part.values()) == sorted(version for version in store.values() if version % 2 == 0)


def test_a_resident_deleted_while_a_list_was_under_way_stays_gone() -> None:
    cache = Cache(lambda _: True)
    cache.observe_resident(_pod("7"))
    cache.residents.begin_relist()
    cache.observe_resident(_pod("9"), deleted=True)
    cache.observe_resident(_pod("8"))
    assert cache.residents.values() == []


def _pod(version: str) -> dict[str, Any]:
    meta = {"namespace": "a", "name": "sam3", "uid": "u", "resourceVersion": version, "creationTimestamp": "now"}
    return {"metadata": meta, "spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}}
