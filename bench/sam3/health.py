"""How soon /health answers, asked from a process of its own, beside a server of another one that does nothing.

The second figure is what the machine's other work costs anybody, so that the first can be judged. Run as
`python -m bench.sam3.health URL`, it asks until its input ends, and prints one line of JSON.
"""

import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PERIOD = 0.02
MODULE = "bench.sam3.health"
IDLE_SERVER = "idle-server"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Latency:
    """Milliseconds from question to answer."""

    answers: int = 0
    median: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, seconds: list[float]) -> "Latency":
        """Return count, median, 99th percentile and maximum of times in seconds."""
        ordered = sorted(round(each * 1000, 1) for each in seconds)
        return cls(len(ordered), ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])


@dataclass
class Polled:
    """Of /health, and of the server that does nothing; `wrong` are answers other than 200."""

    health: Latency = field(default_factory=Latency)
    nothing: Latency = field(default_factory=Latency)
    wrong: int = 0

    def __str__(self) -> str:
        health, nothing = self.health, self.nothing
        return (
            f"/health answered {health.answers} times: median {health.median} ms, p99 {health.p99} ms, "
            f"at most {health.most} ms; a server that does nothing: {nothing.median}, {nothing.p99}, {nothing.most} ms"
        )


@contextmanager
def polling(url: str) -> Iterator[Polled]:
    """Poll for the length of a `with` block; what was seen is in the result after it."""
    polled = Polled()
    command = [sys.executable, "-m", MODULE, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it is a pipe"
        process.stdout.readline()
        yield polled
        seen = json.loads(process.communicate()[0])
    polled.health, polled.nothing = Latency(**seen["health"]), Latency(**seen["nothing"])
    polled.wrong = seen["wrong"]


async def ask(port: int, seconds: list[float]) -> int:
    """Ask at a steady pace until cancelled; return how many answers were not 200."""
    wrong = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        began = time.perf_counter()
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: sam3\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            seconds.append(time.perf_counter() - began)
            wrong += b" 200 " not in head
            await asyncio.sleep(PERIOD)
        except asyncio.CancelledError:
            writer.close()
            return wrong


async def poll(port: int) -> Polled:
    """Poll /health on a port, and a server that does nothing, until standard input ends."""
    command = [sys.executable, "-m", MODULE, IDLE_SERVER]
    idle = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert idle.stdout is not None, "it is a pipe"
    idle_port = int(await idle.stdout.readline())
    health: list[float] = []
    nothing: list[float] = []
    asking = [asyncio.create_task(ask(port, health)), asyncio.create_task(ask(idle_port, nothing))]
    print("polling", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in asking:
        each.cancel()
    wrong, _ = await asyncio.gather(*asking)
    idle.terminate()
    await idle.wait()
    return Polled(Latency.of(health), Latency.of(nothing), wrong)


async def do_nothing() -> None:
    """Serve 200 to every request on a free port, and print the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(ANSWER)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Poll the server of a URL, or be the server that does nothing."""
    if sys.argv[1] == IDLE_SERVER:
        asyncio.run(do_nothing())
    else:
        print(json.dumps(dataclasses.asdict(asyncio.run(poll(urlsplit(sys.argv[1]).port or 80)))))


if __name__ == "__main__":
    main()
