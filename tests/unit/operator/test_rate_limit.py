"""Full passes leave time for other work."""

import asyncio

import pytest

from gpu_relay.controllers.runtime.rate_limit import RateLimit


async def looks(seconds: float, requeue_after: float | None) -> float | None:
    await asyncio.sleep(seconds)
    return requeue_after


async def test_a_rest_is_longer_than_the_pass_before_it() -> None:
    pace = RateLimit()
    assert pace.rest("queue") == 0
    assert await pace.keep("queue", looks(0.05, None)) is None
    assert 0.05 < pace.rest("queue") < 60
    assert pace.rest("other") == 0


async def test_an_immediate_requeue_rests() -> None:
    requeue_after = await RateLimit().keep("queue", looks(0.05, 0))
    assert requeue_after is not None
    assert requeue_after > 0.05
    assert await RateLimit().keep("queue", looks(0.0, 3600)) == 3600


async def test_a_failed_pass_rests() -> None:
    async def fails() -> float | None:
        await asyncio.sleep(0.05)
        raise ValueError("no")

    pace = RateLimit()
    with pytest.raises(ValueError, match="no"):
        await pace.keep("queue", fails())
    assert pace.rest("queue") > 0.05
