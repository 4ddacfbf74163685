"""The checks of the contract, in order: each begins and ends without a hold, with the model loaded."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gpu_relay.conformance.subject import Subject, Turn, ViolationError

_STATES = frozenset({"unloaded", "loading", "loaded", "draining", "unloading", "failed"})
_SLACK_MIB = 256
"""Other processes use the GPU, too: what a measurement may differ by from the next one."""
_SHORT_TTL = 2.0
_EXPIRES_WITHIN = 8.0
_POLL = 0.2
_WATCHED = 2.0
_PAUSE = 1.0
_NUMBERS = ("total_mib", "used_mib", "reserved_mib", "free_mib", "need_mib", "in_flight", "refused", "newest_fence")


@dataclass(frozen=True)
class Check:
    """One promise of the contract."""

    promise: str
    run: Callable[[Subject], Awaitable[None]]


def _expect(condition: object, violation: str) -> None:
    """Raise ViolationError unless a condition holds."""
    if not condition:
        raise ViolationError(violation)


async def _health(subject: Subject) -> None:
    body = (await subject.get("/health")).expect(200)
    _expect(body.get("status") == "ok", f"GET /health: status is {body.get('status')!r}, and must be 'ok'")
    _expect(isinstance(body.get("model_loaded"), bool), "GET /health: model_loaded must be true or false")
    _expect(
        body.get("state") in _STATES, f"GET /health: state is {body.get('state')!r}, and must be one of the contract"
    )
    _expect("hold" in body, "GET /health: hold is missing; it is null without a hold")


async def _gpu_memory(subject: Subject) -> None:
    body = await subject.report()
    for name in _NUMBERS:
        value = body.get(name)
        _expect(isinstance(value, int) and value >= 0, f"GET /api/v1/gpu: {name} is {value!r}, and must be a number")
    for name in ("uuid", "name"):
        _expect(isinstance(body.get(name), str) and body[name], f"GET /api/v1/gpu: {name} must be a text")
    idle = body.get("idle_seconds")
    _expect(isinstance(idle, int | float) and idle >= 0, f"GET /api/v1/gpu: idle_seconds is {idle!r}")
    total = body["used_mib"] + body["reserved_mib"] + body["free_mib"]
    _expect(
        abs(body["total_mib"] - total) <= _SLACK_MIB,
        f"GET /api/v1/gpu: used, reserved and free memory sum to {total} MiB, and total_mib is {body['total_mib']}",
    )


async def _authorization(subject: Subject) -> None:
    if not subject.token:
        return
    turn = subject.next_turn()
    for path, body in (("/api/v1/unload", turn.terms()), ("/api/v1/load", turn.claim)):
        (await subject.post(path, body, authorized=False)).expect(401, 403)
    _expect(not await subject.hold(), "an unload without a token placed a hold")
    _expect((await subject.report())["model_loaded"], "an unload without a token unloaded the model")


async def _unload(subject: Subject) -> None:
    before, turn = await subject.report(), subject.next_turn()
    body = await subject.unload(turn)
    after = await subject.report()
    for name in ("gpu_freed_mb", "gpu_free_mb", "drained", "aborted"):
        _expect(isinstance(body.get(name), int), f"POST /api/v1/unload: {name} is {body.get(name)!r}")
    _expect(not after["model_loaded"], "the model is still loaded after an unload")
    _expect(after.get("state") == "unloaded", f"the state after an unload is {after.get('state')!r}")
    _expect(after["free_mib"] > before["free_mib"], "an unload freed no memory")
    difference = abs(after["free_mib"] - body["gpu_free_mb"])
    _expect(difference <= _SLACK_MIB, f"gpu_free_mb differs by {difference} MiB from the next measurement")
    hold = await subject.hold()
    claim = (hold.get("holder"), hold.get("fence"))
    _expect(claim == (turn.holder, turn.fence), f"the hold belongs to {claim}, and the unload to {turn.claim}")
    _expect(after["newest_fence"] == turn.fence, "newest_fence is not that of the accepted unload")
    _expect(turn.key not in (await subject.get("/api/v1/gpu")).text, "the renew key is shown")
    _expect(turn.key not in (await subject.get("/health")).text, "the renew key is shown")
    await subject.load(turn)


async def _held(subject: Subject) -> None:
    turn = subject.next_turn()
    await subject.unload(turn)
    for _ in range(round(_WATCHED / _POLL)):
        _expect(not (await subject.report())["model_loaded"], "the model was loaded during a hold")
        await asyncio.sleep(_POLL)
    await subject.load(turn)


async def _load(subject: Subject) -> None:
    turn = subject.next_turn()
    await subject.unload(turn)
    body = await subject.load(turn)
    _expect(body.get("model_loaded") is True, "POST /api/v1/load: model_loaded must be true")
    report = await subject.report()
    _expect(report["model_loaded"] and report.get("state") == "loaded", "the model is not loaded after a load")
    _expect(report.get("hold") is None, "the hold continues after the load of its turn")
    await subject.load(turn)
    await subject.load(None)


async def _renewal(subject: Subject) -> None:
    turn = subject.next_turn()
    await subject.unload(turn, ttl=20)
    await asyncio.sleep(_PAUSE)
    before = await _seconds_left(subject)
    own = {"fence": turn.fence, "renew_key": turn.key}
    body = (await subject.post("/api/v1/hold/renew", own, authorized=False)).expect(200)
    _expect(isinstance(body.get("hold"), dict), "POST /api/v1/hold/renew: the answer has no hold")
    _expect(await _seconds_left(subject) > before, "a renewal does not extend the hold")
    wrong = {"fence": turn.fence, "renew_key": "another"}
    (await subject.post("/api/v1/hold/renew", wrong, authorized=False)).expect(403)
    other = {"fence": turn.fence + 1, "renew_key": turn.key}
    (await subject.post("/api/v1/hold/renew", other, authorized=False)).expect(409)
    await subject.unload(Turn(turn.holder, turn.fence, "new-key"), ttl=60)
    _expect(await _seconds_left(subject) > 30, "a repeated unload does not replace the ttl of the hold")
    (await subject.post("/api/v1/hold/renew", own, authorized=False)).expect(403)
    await subject.load(turn)


async def _seconds_left(subject: Subject) -> float:
    seconds = (await subject.hold()).get("expires_in_seconds")
    if not isinstance(seconds, int | float):
        raise ViolationError(f"the hold's expires_in_seconds is {seconds!r}")
    return float(seconds)


async def _other_turns(subject: Subject) -> None:
    old, turn = subject.next_turn(), subject.next_turn()
    await subject.unload(turn)
    stranger = Turn("conformance/stranger", turn.fence)
    for each in (old, stranger):
        (await subject.post("/api/v1/unload", each.terms())).expect(409)
        (await subject.post("/api/v1/load", each.claim)).expect(409)
    (await subject.post("/api/v1/load")).expect(409)
    _expect((await subject.hold()).get("holder") == turn.holder, "a refused order changed the hold")
    _expect(not (await subject.report())["model_loaded"], "a refused order loaded the model")
    newer = subject.next_turn()
    await subject.unload(newer)
    (await subject.post("/api/v1/load", turn.claim)).expect(409)
    _expect((await subject.hold()).get("fence") == newer.fence, "a newer turn did not take over the hold")
    await subject.load(newer)
    for each in (old, turn):
        (await subject.post("/api/v1/unload", each.terms())).expect(409)
    _expect((await subject.report())["model_loaded"], "an order of an ended turn unloaded the model")


async def _expiry(subject: Subject) -> None:
    turn = subject.next_turn()
    await subject.unload(turn, ttl=_SHORT_TTL)
    for _ in range(round(_EXPIRES_WITHIN / _POLL)):
        if not await subject.hold():
            break
        await asyncio.sleep(_POLL)
    _expect(not await subject.hold(), f"a hold of {_SHORT_TTL:g} s continues after {_EXPIRES_WITHIN:g} s")
    late = {"fence": turn.fence, "renew_key": turn.key}
    (await subject.post("/api/v1/hold/renew", late, authorized=False)).expect(409)
    await subject.load(None)


async def _invalid_bodies(subject: Subject) -> None:
    turn = subject.next_turn()
    terms = turn.terms()
    bodies: list[Any] = [
        [], "text", 7, {}, {**terms, "fence": -1}, {**terms, "fence": str(turn.fence)}, {**terms, "fence": 2.5},
        {**terms, "fence": True}, {**terms, "fence": 2**70}, {**terms, "holder": ""}, {**terms, "holder": 7},
        {**terms, "ttl_seconds": 0}, {**terms, "ttl_seconds": -5}, {**terms, "ttl_seconds": "soon"},
        {**terms, "renew_key": None}, {key: value for key, value in terms.items() if key != "renew_key"},
    ]  # fmt: skip
    for body in bodies:
        answer = await subject.post("/api/v1/unload", body)
        _expect(answer.status < 500, f"POST /api/v1/unload with {body!r} is answered with {answer.status}")
        answer.expect(400, 422)
    for raw in (b"{", b"\xff\xfe", b"[" * 10_000, b'{"fence": 1e400}'):
        answer = await subject.post("/api/v1/unload", raw=raw)
        _expect(answer.status < 500, f"POST /api/v1/unload with {raw[:20]!r} is answered with {answer.status}")
        answer.expect(400, 413, 422)
    _expect(not await subject.hold(), "an invalid unload placed a hold")
    _expect((await subject.report())["model_loaded"], "an invalid unload unloaded the model")


async def _storm(subject: Subject) -> None:
    old, turn = subject.next_turn(), subject.next_turn()
    await subject.unload(turn)
    renew = {"fence": turn.fence, "renew_key": turn.key}
    answers = await asyncio.gather(
        *(subject.post("/api/v1/unload", turn.terms()) for _ in range(10)),
        *(subject.post("/api/v1/hold/renew", renew, authorized=False) for _ in range(10)),
        *(subject.get("/api/v1/gpu") for _ in range(20)),
        *(subject.get("/health") for _ in range(20)),
    )
    for answer in answers:
        answer.expect(200)
    for answer in await asyncio.gather(*(subject.post("/api/v1/load", old.claim) for _ in range(10))):
        answer.expect(409)
    turns = [subject.next_turn() for _ in range(8)]
    for answer in await asyncio.gather(*(subject.post("/api/v1/unload", each.terms()) for each in turns)):
        answer.expect(200, 409)
    _expect(
        (await subject.hold()).get("fence") == turns[-1].fence, "of unloads at the same time, the newest fence lost"
    )
    await subject.load(turns[-1])


CHECKS = (
    Check("reports its health without waiting", _health),
    Check("reports the GPU's memory", _gpu_memory),
    Check("unloads and loads only for those with a token", _authorization),
    Check("unloads under a hold, and frees memory", _unload),
    Check("stays unloaded while it is held", _held),
    Check("ends the hold and loads when the turn ends", _load),
    Check("renews a hold for those who have its key", _renewal),
    Check("refuses orders of other turns", _other_turns),
    Check("ends a hold that is not renewed", _expiry),
    Check("refuses invalid bodies, and nothing changes", _invalid_bodies),
    Check("answers many clients at the same time", _storm),
)
