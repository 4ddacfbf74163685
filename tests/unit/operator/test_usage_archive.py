"""The archive of usage: what is written into the ConfigMap of a GPU, and when there is too much."""

import json
from typing import Any, cast

from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.usage_archive import UsageArchive
from gpu_relay.domain.objects.usage import Account, Usage, accounts_written
from tests.support import builders
from tests.support.builders import NOW

PATH = "/api/v1/namespaces/gpu-relay/configmaps"
MINE = "yolotrainingjob/vision/digits"


class OneConfigMap:
    """An API server with at most one ConfigMap."""

    def __init__(self, data: dict[str, str] | None = None) -> None:
        self.data = data
        self.writes = 0

    async def get(self, path: str) -> dict[str, Any]:
        if self.data is None:
            raise KubeError(404, "NotFound", "configmaps gpu-relay-usage-gpu-1 not found")
        assert path == f"{PATH}/gpu-relay-usage-gpu-1"
        return {"data": self.data}

    async def create(self, path: str, body: dict[str, Any]) -> None:
        assert (path, self.data) == (PATH, None)
        self.data, self.writes = body["data"], self.writes + 1

    async def merge(self, path: str, body: dict[str, Any]) -> None:
        assert self.data is not None
        changed = {**self.data, **body["data"]}
        self.data, self.writes = {key: value for key, value in changed.items() if value is not None}, self.writes + 1


async def write(server: OneConfigMap, *days: str, oldest: str = "2025-01-01") -> dict[str, str]:
    """Write the same accounts for these days; return what the ConfigMap then has."""
    archive = UsageArchive(cast("Kube", server), "gpu-relay")
    usage = Usage(NOW, 0, {day: {MINE: Account(owned=60.0, turns=1)} for day in days})
    await archive.write(builders.lease(None, uid="0f8e2d1c-1"), usage, oldest)
    assert server.data is not None
    return server.data


async def test_each_day_of_a_lease_has_a_key() -> None:
    server = OneConfigMap()
    written = await write(server, "2026-01-30", "2026-01-31")
    assert list(written) == ["2026-01-30.0f8e2d1c", "2026-01-31.0f8e2d1c"]
    assert json.loads(written["2026-01-31.0f8e2d1c"]) == accounts_written({MINE: Account(owned=60.0, turns=1)})
    await write(server, "2026-01-31")
    assert server.writes == 1, "nothing has changed"


async def test_days_of_other_leases_stay_and_old_ones_go() -> None:
    server = OneConfigMap({"2025-12-31.aaaaaaaa": "{}", "2026-01-31.aaaaaaaa": "{}"})
    written = await write(server, "2026-01-31", oldest="2026-01-01")
    assert sorted(written) == ["2026-01-31.0f8e2d1c", "2026-01-31.aaaaaaaa"]


async def test_of_too_much_the_oldest_days_go() -> None:
    server = OneConfigMap({f"2026-01-{day:02}.aaaaaaaa": "x" * 100_000 for day in range(1, 11)})
    written = await write(server, "2026-01-31")
    assert min(written) == "2026-01-03.aaaaaaaa"
    assert "2026-01-31.0f8e2d1c" in written
