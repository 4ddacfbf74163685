"""The encoder process: what it writes, when it gives up, and that another one comes when it has ended."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest
from pycocotools import mask as coco

from devcluster.programs.sam3 import runs
from sam3_server.errors import InferenceError, TooMuchWorkError
from sam3_server.worker.allowance import Allowance
from sam3_server.worker.encoder import encode
from sam3_server.worker.encoder_client import EncoderClient
from sam3_server.worker.instances import Found, Head, pack
from sam3_server.worker.protocol import Form, Prompt, Query, WorkerError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")

WIDTH, HEIGHT = 30, 20
SQUARE = np.zeros((HEIGHT, WIDTH), np.uint8)
SQUARE[5:15, 10:20] = 1
RUNS = np.array([10 * HEIGHT + 5, *[10] * 19, 5 + 10 * HEIGHT], np.uint32)  # columns of 10, 10 apart
BOX = (10.0, 5.0, 20.0, 15.0)


def query(form: Form = "rle", prompts: int = 2, nms_iou: float | None = None) -> Query:
    return Query(prompts=[Prompt(text="cat")] * prompts, form=form, max_instances=9, nms_iou=nms_iou)


def found(instances: int = 2, prompts: int = 2, masks: bool = True) -> bytes:
    each = Found([BOX] * instances, [0.75] * instances, [RUNS] * instances if masks else None, omitted=3)
    return pack(Head(width=WIDTH, height=HEIGHT, model_seconds=0.5), [each] * prompts)


@pytest.fixture
async def encoder() -> AsyncIterator[EncoderClient]:
    async with EncoderClient("error") as encoder:
        yield encoder


def pid(encoder: EncoderClient) -> int:
    assert encoder._peer is not None
    return encoder._peer._process.pid


async def test_it_writes_what_the_worker_found(encoder: EncoderClient) -> None:
    answer = json.loads(await encoder.encode(query(), found(), "a", 60, 60))
    assert (answer["width"], answer["height"], answer["model_seconds"]) == (WIDTH, HEIGHT, 0.5)
    assert [(len(each["detections"]), each["omitted"]) for each in answer["results"]] == [(2, 3)] * 2
    detection = answer["results"][0]["detections"][0]
    assert (detection["box"], detection["score"]) == (list(BOX), 0.75)
    assert np.array_equal(coco.decode(detection["mask"]), SQUARE)
    boxes = json.loads(await encoder.encode(query("box"), found(masks=False), "a", 60, 60))
    assert set(boxes["results"][0]["detections"][0]) == {"box", "score"}
    one = json.loads(await encoder.encode(query("polygon", nms_iou=0.9), found(), "a", 60, 60))
    assert [len(each["detections"]) for each in one["results"]] == [1, 0], "of duplicates one is returned"


async def test_it_cancels_after_its_time_and_keeps_running(encoder: EncoderClient) -> None:
    first = pid(encoder)
    with pytest.raises(TooMuchWorkError, match=r"takes more than 0 s \(0 of 4 masks were packed\); send fewer prompts"):
        await encoder.encode(query(), found(), "a", 0, 60)
    assert await encoder.encode(query(), found(), "a", 60, 60)
    assert pid(encoder) == first


async def test_it_drops_the_work_of_a_caller_that_is_cancelled(encoder: EncoderClient) -> None:
    first = pid(encoder)
    os.kill(first, signal.SIGSTOP)
    leaving = asyncio.create_task(encoder.encode(query(), found(), "a", 60, 60))
    waiting = asyncio.create_task(encoder.encode(query(), found(), "a", 60, 60))
    await asyncio.sleep(0.05)
    leaving.cancel()
    os.kill(first, signal.SIGCONT)
    assert await waiting
    assert pid(encoder) == first


async def test_one_that_is_stuck_is_replaced(encoder: EncoderClient) -> None:
    first = pid(encoder)
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(TooMuchWorkError, match=r"took more than 0\.2 s to encode"):
        await encoder.encode(query(), found(), "a", 0.1, 0.2)
    async with asyncio.timeout(30):
        while runs(first):
            await asyncio.sleep(0.01)
    assert await encoder.encode(query(), found(), "a", 60, 60)
    assert pid(encoder) != first


async def test_an_invalid_request_is_reported_and_the_process_keeps_running(encoder: EncoderClient) -> None:
    first = pid(encoder)
    with pytest.raises(InferenceError):
        await encoder.encode(query(prompts=1), found(), "a", 60, 60)
    assert await encoder.encode(query(), found(), "a", 60, 60)
    assert pid(encoder) == first


@pytest.mark.parametrize(
    ("looks", "progress"),
    [(3, "3 of 4 masks"), (5, "1 of 4 instances were compared"), (8, "0 of 1 instances were written")],
)
def test_it_looks_between_masks_comparisons_and_instances(looks: int, progress: str) -> None:
    seen: list[str] = []

    class Counted(Allowance):
        def check(self, progress: str) -> None:
            seen.append(progress)
            if len(seen) > looks:
                raise WorkerError("cancelled", "the client has left")

    with pytest.raises(WorkerError):
        encode(query(nms_iou=0.5), found(), Counted(60, lambda: False))
    assert progress in seen[-1]
