"""The socket between server and child process: turns, cancelled callers, and what the child sees of them."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from sam3_server.errors import WorkerGoneError
from sam3_server.worker.channel import Channel
from sam3_server.worker.peer import Peer, PeerSlowError
from sam3_server.worker.protocol import Cancel, Failed, Query, Reply, Request, Segment, head

PIXELS = (b"abc", b"def")


def segment(width: int) -> Segment:
    return Segment(width=width, height=1, query=Query(prompts=[], max_instances=1), seconds=1.0)


def failed(message: str) -> Failed:
    return Failed(reason="error", message=message)


class Child:
    """A process that is this one's own: the test plays what it does."""

    pid = 0

    def __init__(self) -> None:
        self.signals: list[str] = []
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.channel: Channel

    async def start(self, theirs: socket.socket) -> "Child":
        self.channel = Channel(theirs.dup())
        return self

    async def wait(self) -> int:
        return await self._code

    def terminate(self) -> None:
        self._end("SIGTERM", -15)

    def kill(self) -> None:
        self._end("SIGKILL", -9)

    def _end(self, name: str, code: int) -> None:
        self.signals.append(name)
        if not self._code.done():
            self._code.set_result(code)

    async def receive(self) -> tuple[Request, bytearray]:
        received = await asyncio.to_thread(self.channel.receive)
        assert received is not None
        return received


async def begin() -> tuple[Peer, Child]:
    child = Child()
    return await Peer.start("worker", child.start, lambda: None), child


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_requests_are_answered_in_turn() -> None:
    peer, child = await begin()
    calls = [asyncio.create_task(peer.call(segment(width), PIXELS, 10)) for width in (1, 2)]
    for width in (1, 2):
        request, pixels = await child.receive()
        assert (request, bytes(pixels)) == (segment(width), b"abcdef")
        child.channel.reply(failed(str(width)), b"payload")
    assert await asyncio.gather(*calls) == [(failed("1"), b"payload"), (failed("2"), b"payload")]
    await peer.stop(1)
    assert child.signals == ["SIGTERM"]


async def test_clients_have_turns_in_rotation() -> None:
    peer, child = await begin()
    asked = [("batch", 1), ("batch", 2), ("batch", 3), ("person", 4)]
    calls = [asyncio.create_task(peer.call(segment(width), (), 10, client=client)) for client, width in asked]
    served = []
    for _ in asked:
        request, _ = await child.receive()
        assert isinstance(request, Segment)
        served.append(request.width)
        child.channel.reply(failed(""), b"")
    assert served == [1, 4, 2, 3], "one of the batch had begun; the person is next"
    await asyncio.gather(*calls)
    await peer.stop(1)


async def test_a_caller_that_gives_up_before_its_turn_sends_nothing() -> None:
    peer, child = await begin()
    first, second, third = (asyncio.create_task(peer.call(segment(width), (), 10)) for width in (1, 2, 3))
    await child.receive()
    second.cancel()
    await asyncio.wait({second})
    child.channel.reply(failed("1"), b"")
    assert (await child.receive())[0] == segment(3)
    child.channel.reply(failed("3"), b"")
    assert [(await call)[0] for call in (first, third)] == [failed("1"), failed("3")]
    await peer.stop(1)


async def test_a_cancelled_caller_sends_a_cancel() -> None:
    peer, child = await begin()
    heard: list[Reply] = []
    first = asyncio.create_task(peer.call(segment(1), PIXELS, 10, heard.append))
    second = asyncio.create_task(peer.call(segment(2), PIXELS, 10))
    await child.receive()
    assert not child.channel.cancelled()
    first.cancel()
    await until(child.channel.cancelled)
    assert not child.channel.cancelled(), "one cancel is sent"
    child.channel.reply(failed("1"), b"late")
    assert (await child.receive())[0] == segment(2), "the turn ends with the reply"
    child.channel.reply(failed("2"), b"")
    assert (await second)[0] == failed("2")
    assert heard == [failed("1")]
    assert child.signals == []
    await peer.stop(1)


async def test_a_cancel_that_crosses_the_reply_is_passed_over() -> None:
    peer, child = await begin()
    first = asyncio.create_task(peer.call(segment(1), (), 10))
    await child.receive()
    child.channel.reply(failed("1"), b"")
    first.cancel()
    await asyncio.wait({first})
    second = asyncio.create_task(peer.call(segment(2), (), 10))
    assert (await child.receive())[0] == segment(2)
    assert not child.channel.cancelled()
    child.channel.reply(failed("2"), b"")
    assert (await second)[0] == failed("2")
    await peer.stop(1)


async def test_a_stuck_process_is_ended_without_its_caller() -> None:
    peer, child = await begin()
    with pytest.raises(PeerSlowError, match=r"did not answer within 0\.05 s"):
        await peer.call(segment(1), (), 0.05)
    assert child.signals == ["SIGKILL"]
    peer, child = await begin()
    leaving = asyncio.create_task(peer.call(segment(1), (), 0.5))
    await child.receive()
    leaving.cancel()
    await until(lambda: child.signals == ["SIGKILL"])


async def test_a_process_that_ended_says_how() -> None:
    peer, child = await begin()
    call = asyncio.create_task(peer.call(segment(1), (), 10))
    await child.receive()
    child.kill()
    for _ in range(2):
        with pytest.raises(WorkerGoneError, match="the worker ended with signal 9"):
            await call
        call = asyncio.create_task(peer.call(segment(2), (), 10))
    with pytest.raises(WorkerGoneError):
        await call


def test_a_closed_channel_has_no_requests_and_no_client() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs)
    ours.sendall(head(Cancel()) + head(segment(1), 2) + b"x")
    ours.close()
    assert channel.receive() is None, "half a request is none"
    assert channel.cancelled()
