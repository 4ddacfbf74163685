"""A campaign: messages sent to a server over a few connections, and what was wrong with the answers."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.fuzz.http_client import Answer, Client, ClosedError, Message, client

CONNECTIONS = 4


@dataclass
class Report:
    """How many answers there were of each status, and each message that was not answered as it has to be."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    findings: dict[int, str] = field(default_factory=dict)


async def run(port: int, numbers: range, make: Callable[[int], Message], report: Report | None = None) -> Report:
    """Send the message of every number to a server on this machine."""
    report = report or Report()
    waiting = iter(numbers)
    async with asyncio.TaskGroup() as senders:
        for _ in range(CONNECTIONS):
            senders.create_task(_send(port, waiting, make, report))
    return report


async def _send(port: int, numbers: Iterator[int], make: Callable[[int], Message], report: Report) -> None:
    async with client(port) as opened:
        for number in numbers:
            message = make(number)
            outcome, complaint = await _outcome(opened, message)
            report.statuses[outcome] += 1
            if complaint:
                report.findings[number] = complaint


async def _outcome(opened: Client, message: Message) -> tuple[int | str, str | None]:
    try:
        answer = await opened.ask(message)
    except TimeoutError:
        await opened.close()
        return "hang", "no answer in time"
    except ClosedError as error:
        return "closed", f"closed without an answer: {error}" if message.is_http else None
    return answer.status, complaint_about(answer)


def complaint_about(answer: Answer) -> str | None:
    """Say what is wrong with an answer to a senseless request, if something is."""
    if answer.status >= 500 and not (answer.status == 503 and answer.headers.get("retry-after")):
        return f"{answer.status}: {answer.body[:300]!r}"
    if answer.status >= 400 and answer.body and b'"detail"' not in answer.body and b"Invalid HTTP" not in answer.body:
        return f"{answer.status} without a detail: {answer.body[:300]!r}"
    return None
