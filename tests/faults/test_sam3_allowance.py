"""A worker's model gives a request up between prompts and between masks, and is as good as before."""

import math
from collections.abc import Iterator

import pytest

from devcluster.programs.sam3 import tiny_model
from sam3_server.worker import masks
from sam3_server.worker.allowance import Allowance
from sam3_server.worker.model import Sam3
from sam3_server.worker.protocol import Failed, Prompt, Query, Segment, Segmented, Setup, WorkerError
from sam3_server.worker.session import Session

WIDTH, HEIGHT = 90, 60
PIXELS = bytearray(range(256)) * (WIDTH * HEIGHT * 3 // 256 + 1)


def request(prompts: int) -> Segment:
    query = Query(prompts=[Prompt(text=f"thing {index}", threshold=0) for index in range(prompts)], max_instances=9)
    return Segment(width=WIDTH, height=HEIGHT, query=query, seconds=math.inf)


@pytest.fixture(scope="module")
def sam3() -> Sam3:
    return Sam3(tiny_model(), "auto", memory_mib=0, cached_images=1)


def after(looks: int) -> Iterator[bool]:
    yield from [False] * looks
    while True:
        yield True


@pytest.mark.parametrize(("looks", "computed"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (6, 3)])
def test_work_ends_between_prompts_after_a_disconnect(sam3: Sam3, looks: int, computed: int) -> None:
    left = after(looks)
    allowance = Allowance(math.inf, lambda: next(left))
    with pytest.raises(WorkerError, match="the client has disconnected") as raised:
        sam3.segment(request(4), PIXELS[: WIDTH * HEIGHT * 3], allowance)
    assert (raised.value.reason, allowance.prompts) == ("cancelled", computed)


def test_masks_are_looked_at_chunk_by_chunk(sam3: Sam3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "PIXELS_PER_CHUNK", 1)
    left = after(5)  # before the image, before the prompt, before three of its five masks
    with pytest.raises(WorkerError, match="disconnected"):
        sam3.segment(request(1), PIXELS[: WIDTH * HEIGHT * 3], Allowance(math.inf, lambda: next(left)))
    assert next(left)


def test_a_timed_out_request_says_what_to_change(sam3: Sam3) -> None:
    with pytest.raises(
        WorkerError, match=r"takes more than 0 s \(nothing was computed\); send fewer prompts"
    ) as raised:
        sam3.segment(request(1), PIXELS[: WIDTH * HEIGHT * 3], Allowance(0, lambda: False))
    assert raised.value.reason == "work"


def test_an_abandoned_request_leaves_worker_and_features() -> None:
    session = Session(Setup(model=tiny_model(), dtype="auto", memory_mib=0, cached_images=1, log_level="error"))
    session._prepare()
    pixels = PIXELS[: WIDTH * HEIGHT * 3]
    left = after(3)
    given_up = session.answer(request(4), pixels, Allowance(math.inf, lambda: next(left)))
    assert isinstance(given_up, Failed)
    assert (given_up.reason, given_up.prompts) == ("cancelled", 1)
    answered = session.answer(request(2), pixels, Allowance(math.inf, lambda: False))
    assert isinstance(answered, Segmented)
    assert (answered.prompts, answered.cached) == (2, True)
