"""The work queue: duplicates merge, a key never runs twice at once, failures are tried again."""

import asyncio
from collections.abc import Awaitable, Callable

from gpu_relay.controllers.runtime.workqueue import WorkQueue


async def run_until(queue: WorkQueue, done: Callable[[], bool]) -> None:
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def recording(handle: Callable[[str], Awaitable[float | None]]) -> tuple[list[str], WorkQueue]:
    seen: list[str] = []

    async def handler(key: str) -> float | None:
        seen.append(key)
        return await handle(key)

    return seen, WorkQueue(handler)


async def nothing(_: str) -> float | None:
    return None


async def test_duplicates_are_merged() -> None:
    seen, queue = recording(nothing)
    for _ in range(3):
        queue.put("a")
    queue.put("b")
    await run_until(queue, lambda: len(seen) >= 2)
    assert sorted(seen) == ["a", "b"]


async def test_a_key_put_while_it_runs_runs_again_but_never_beside_itself() -> None:
    active = most = 0

    async def slow(_: str) -> float | None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.02)
        active -= 1
        return None

    seen, queue = recording(slow)
    task = asyncio.create_task(run_until(queue, lambda: len(seen) >= 2 and active == 0))
    queue.put("a")
    await asyncio.sleep(0.01)
    queue.put("a")
    await task
    assert (seen, most) == (["a", "a"], 1)


async def test_a_failure_is_tried_again() -> None:
    async def fails_once(_: str) -> float | None:
        if len(seen) == 1:
            raise RuntimeError("once")
        return None

    seen, queue = recording(fails_once)
    queue.put("a")
    await run_until(queue, lambda: len(seen) == 2)


async def test_an_earlier_put_wins_over_a_delay() -> None:
    seen, queue = recording(nothing)
    queue.put("a", delay=3600)
    queue.put("a")
    await run_until(queue, lambda: seen == ["a"])


async def test_a_librarys_cancellation_is_a_failure() -> None:
    async def leaks_once(_: str) -> float | None:
        if len(seen) == 1:
            queue.put("a")
            await asyncio.sleep(0.02)
            raise asyncio.CancelledError
        return None

    seen, queue = recording(leaks_once)
    queue.put("a")
    await run_until(queue, lambda: len(seen) >= 2)
    assert seen == ["a", "a"]


async def test_it_ends_though_a_key_is_put_during_its_cancellation() -> None:
    _, queue = recording(nothing)
    queue.put("later", 60)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0.01)
    queue.put("now")
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    task.cancel()
    assert done == {task}
