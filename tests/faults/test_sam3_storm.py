"""Turn after turn, with and without load: nothing is lost, nothing answered wrongly, nothing left behind.

`SAM3_CYCLES=200` and `SAM3_STORM_CYCLES=50` run what was promised; the defaults are a sample.
"""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

import gpu_memory
from devcluster.programs.sam3 import NEED, TOKEN, Server, tiny_model
from devcluster.waiting import eventually
from tests.faults.sam3_storm import rage, turns

CYCLES = int(os.environ.get("SAM3_CYCLES", "6"))
STORM_CYCLES = int(os.environ.get("SAM3_STORM_CYCLES", "2"))
CLIENTS = 16
MOST_GROWTH_MIB = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("storm")
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    ledger = gpu_memory.create_ledger(folder / "gpu")
    settings = {"SAM3_LOG_LEVEL": "warning", "SAM3_MAX_PER_CLIENT": str(CLIENTS)}
    server = Server(ledger, tiny_model(), token_file, settings)
    yield server
    server.end()


def left(server: Server) -> tuple[int, int, int]:
    """Descriptors, processes and zombies once a standby is ready: what must not grow."""
    eventually(server.standby_ready, "a standby", within=60, every=0.02)
    return server.descriptors(), len(server.children()), len(server.zombies())


def test_nothing_is_left_behind_however_many_turns_there_are(server: Server) -> None:
    assert server.segment().status_code == 200
    expected = server.segment().json()["results"]
    seen: list[tuple[int, int, int]] = []
    memory: list[int] = []
    unloads: list[float] = []
    for fence in range(1, CYCLES + 1):
        began = time.monotonic()
        answer = server.unload(fence, ttl_seconds=600).json()
        assert (answer["gpu_freed_mb"], server.ledger.used_mib) == (NEED, 0), "0 MiB are booked once it has answered"
        unloads.append(time.monotonic() - began)
        seen.append(left(server))
        memory.append(server.resident_mib())
        assert server.load(fence).status_code == 200
        assert server.ledger.used_mib == NEED
        assert server.segment().json()["results"] == expected
        if fence % 20 == 0:
            figures = f"{seen[-1][0]} descriptors, {memory[-1]} MiB, slowest unload {max(unloads):.2f} s"
            print(f"\n{fence} turns: {figures}")
    assert set(seen[1:]) <= {(seen[1][0], 5, 0)}, "zygote, encoder, standby, two intakes, and no more each turn"
    settled = memory[len(memory) // 4 :]
    assert settled[-1] - settled[0] <= MOST_GROWTH_MIB, memory


def test_in_a_storm_every_request_is_answered_and_answered_right(server: Server) -> None:
    storm = asyncio.run(rage(server.url, CLIENTS, lambda client: turns(client, STORM_CYCLES, first_fence=CYCLES + 1)))
    assert storm.wrong == []
    assert storm.statuses.keys() <= {200, 503}
    assert storm.statuses[200] > 0
    assert storm.statuses[503] > 0
    assert (storm.polled.health.answers > 0, storm.polled.wrong) == (True, 0)
    assert server.health()["model_loaded"]
    assert server.segment().status_code == 200
    print(f"\n{storm.statuses}; {storm.polled}")
