"""SAM3's answers as the demo reads them."""

import httpx
import pytest

from demo.sam3 import Gpu, Sam3, Sam3Error, photograph

GPU = {"name": "Tesla T4", "total_mib": 15360, "used_mib": 14000, "reserved_mib": 450, "free_mib": 910, "uuid": "GPU-1"}
FOUND = {
    "width": 810,
    "height": 1080,
    "model_seconds": 0.1,
    "results": [{"prompt": "person", "detections": [{}, {}]}, {"prompt": "bus", "detections": []}],
}


def client(status: int = 200, body: object = None, headers: dict[str, str] | None = None) -> Sam3:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=body, headers=headers)

    return Sam3("http://sam3:8000", transport=httpx.MockTransport(answer))


def test_the_photograph_is_a_real_one() -> None:
    assert photograph().read_bytes()[:3] == b"\xff\xd8\xff"


def test_detections_are_counted_by_prompt() -> None:
    found = client(body=FOUND).detect(photograph())
    assert found.instances == {"person": 2, "bus": 0}
    assert found.total == 2
    assert found.seconds > 0


def test_a_gpu_is_read() -> None:
    assert client(body=GPU).gpu() == Gpu("Tesla T4", total=15360, reserved=450, used=14000, free=910)


def test_an_error_has_sam3s_message() -> None:
    sam3 = client(503, {"status": 503, "detail": "no model.safetensors"})
    with pytest.raises(Sam3Error, match=r"POST /api/v1/segment: status 503: no model\.safetensors"):
        sam3.detect(photograph())
    with pytest.raises(Sam3Error, match="GET /health: status 503"):
        sam3.health()


def test_a_refusal_is_read_with_its_retry_after() -> None:
    refusal = client(503, {"detail": "the GPU is lent"}, {"Retry-After": "58"}).try_to_detect(photograph())
    assert refusal is not None
    assert (refusal.status, refusal.retry_after, refusal.detail) == (503, "58", "the GPU is lent")


def test_what_is_not_refused_is_no_refusal() -> None:
    assert client(body=FOUND).try_to_detect(photograph()) is None
