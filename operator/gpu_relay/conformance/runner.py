"""Run the checks against a resident, and print a report."""

import time
from dataclasses import dataclass

from gpu_relay.clients.http import open_session
from gpu_relay.conformance.checks import CHECKS, Check
from gpu_relay.conformance.subject import Subject, ViolationError


@dataclass(frozen=True)
class Result:
    """The outcome of one check."""

    check: Check
    seconds: float
    violation: str = ""

    def __str__(self) -> str:
        line = f"{'FAILED' if self.violation else 'ok':<7} {self.seconds:6.1f} s  {self.check.promise}"
        return f"{line}\n          {self.violation}" if self.violation else line


async def run(url: str, token: str, *, load_timeout: float) -> list[Result]:
    """Run all checks in order, and print each result; raise ViolationError if the resident cannot be tested.

    Each check begins with a loaded model and without a hold. After a violation, the resident is brought back to that.
    """
    async with open_session() as session:
        subject = Subject(session, url, token, load_timeout=load_timeout)
        await subject.begin()
        if hold := await subject.hold():
            raise ViolationError(
                f"{hold.get('holder')} holds the resident: the checks would end its turn. Choose a resident that no "
                "operator uses, or wait"
            )
        results = []
        await subject.load(None)
        for check in CHECKS:
            began = time.monotonic()
            violation = await _violation(check, subject)
            results.append(Result(check, time.monotonic() - began, violation))
            print(results[-1], flush=True)
            if violation:
                await _restore(subject)
    return results


async def _violation(check: Check, subject: Subject) -> str:
    try:
        await check.run(subject)
    except ViolationError as error:
        return str(error)
    return ""


async def _restore(subject: Subject) -> None:
    """End the hold that a failed check has left, and load: with a newer turn, which may always take over."""
    turn = subject.next_turn()
    await subject.post("/api/v1/unload", turn.terms())
    await subject.post("/api/v1/load", turn.claim)
