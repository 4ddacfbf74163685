"""What an operator reports about itself: progress, logs, and the tables of docs/operations.md."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from devcluster.paths import REPOSITORY
from gpu_relay.controllers.runtime.watch_lag import WatchLag
from gpu_relay.controllers.runtime.workqueue import WorkQueue
from gpu_relay.observability import logs, metrics
from gpu_relay.settings import Settings

OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def test_a_complete_watch_has_no_lag() -> None:
    lag = WatchLag()
    lag.observed("a", "5", deleted=False)
    lag.listed({"a": "5"}, lag.known(), now=0)
    assert lag.seconds(100) == 0


def test_a_listed_version_lags_until_the_watch_delivers_it() -> None:
    lag = WatchLag()
    lag.observed("a", "5", deleted=False)
    lag.listed({"a": "7", "b": "6"}, lag.known(), now=10)
    lag.observed("b", "9", deleted=False)
    lag.observed("a", "6", deleted=False)
    lag.listed({"a": "8", "b": "9"}, lag.known(), now=20)
    assert lag.seconds(30) == 20, "counted from the list that showed it first"
    lag.observed("a", "8", deleted=False)
    assert lag.seconds(30) == 0


def test_deletions_are_no_lag() -> None:
    """After a 410 the framework starts with a new list, and never reports what was deleted in between."""
    lag = WatchLag()
    for uid in ("a", "b"):
        lag.observed(uid, "1", deleted=False)
    lag.listed({"a": "2", "b": "2"}, lag.known(), now=0)
    lag.observed("a", "2", deleted=True)
    lag.listed({}, lag.known(), now=5)
    assert lag.seconds(10) == 0
    assert not lag.known()


def test_events_during_a_list_count() -> None:
    lag = WatchLag()
    before = lag.known()
    lag.observed("new", "3", deleted=False)
    lag.listed({}, before, now=0)
    lag.listed({"new": "3"}, lag.known(), now=5)
    assert lag.seconds(10) == 0


async def test_a_key_that_runs_for_long_is_not_overdue_but_running() -> None:
    """A load takes minutes; meanwhile its GPU is queued again and again, which is no hang."""
    done = asyncio.Event()

    async def handle(_: str) -> None:
        await done.wait()

    queue = WorkQueue(handle)
    queue.put("gpu/a")
    await asyncio.sleep(0.02)
    assert queue.overdue() == 0, "nothing is overdue before the queue runs"
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.02)
    queue.put("gpu/a")
    await asyncio.sleep(0.02)
    assert queue.overdue() == 0
    assert queue.longest_run() > 0.02
    done.set()
    await asyncio.sleep(0.02)
    assert queue.longest_run() == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def line() -> Iterator[logging.LogRecord]:
    yield logging.LogRecord("gpu_relay", logging.INFO, "", 0, "%s begins", ("it",), None)


async def test_every_log_line_names_its_object(line: logging.LogRecord) -> None:
    async def turn() -> tuple[dict[str, Any], str]:
        logs.task_is_about(gpu="gpu-1", fence=7, job="vision/digits")
        return json.loads(logs.JsonLines().format(line)), logs.TextLines().format(line)

    entry, text = await asyncio.create_task(turn())
    assert (entry["gpu"], entry["fence"], entry["job"], entry["message"]) == ("gpu-1", 7, "vision/digits", "it begins")
    assert "[gpu-1 fence 7 vision/digits] it begins" in text
    assert "gpu" not in json.loads(logs.JsonLines().format(line)), "other tasks are about something else"
    with logs.about(job="a/b"):
        assert json.loads(logs.JsonLines().format(line))["job"] == "a/b"
    assert "job" not in json.loads(logs.JsonLines().format(line))


def test_the_documents_table_of_metrics_is_the_code() -> None:
    declared = {
        metric.name + ("_total" if metric.type == "counter" else ""): (metric.type, metric.documentation)
        for metric in REGISTRY.collect()
        if metric.name.startswith("gpu_relay_")
    }
    assert metrics.LEADER, "the module declares them"
    rows = re.findall(r"^\| `(gpu_relay_[a-z_]+)` \| (\w+) \| [^|]*\| (.*) \|$", OPERATIONS, re.MULTILINE)
    assert {name: (kind, text) for name, kind, text in rows} == declared


def test_the_documents_table_of_settings_is_the_code() -> None:
    declared = {
        f"GPU_RELAY_{name.upper()}": (shown(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    }
    rows = re.findall(r"^\| `(GPU_RELAY_[A-Z_]+)` \| (.*?) \| (.*) \|$", OPERATIONS, re.MULTILINE)
    assert {name: (default, text) for name, default, text in rows} == declared


def shown(default: object) -> str:
    return "" if default in (None, "", []) else f"`{default}`"
