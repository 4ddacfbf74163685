"""A short campaign against the real application over HTTP, with a scripted worker. The messages are always the same.

`python -m tests.fuzz` runs long campaigns; what they find belongs into `tests/fuzz/corpus`.
"""

import pytest

from tests.fuzz import campaign, image_seeds, request_mutants
from tests.fuzz.http_client import Message, client
from tests.fuzz.image_mutants import mutant
from tests.unit.sam3.conftest import Resident

IMAGES, REQUESTS = 4000, 3000

pytestmark = pytest.mark.filterwarnings("ignore::Warning")


def image_message(number: int) -> Message:
    return request_mutants.image_message(mutant(number))


async def test_mutated_images_are_answered(port: int) -> None:
    report = await campaign.run(port, range(IMAGES), image_message)
    print(f"\n{report.statuses}")
    assert not report.findings
    assert report.statuses[200] > IMAGES // 10, "enough of them are still images"
    assert report.statuses[422] > IMAGES // 10


async def test_mutated_requests_are_answered(port: int) -> None:
    report = await campaign.run(port, range(REQUESTS), request_mutants.message)
    print(f"\n{report.statuses}")
    assert not report.findings
    assert report.statuses.keys() >= {200, 400, 404, 405, 415, 422}, "the sample has something of everything"


@pytest.mark.parametrize("number", range(len(image_seeds.found())))
async def test_what_earlier_campaigns_found_is_answered(port: int, number: int) -> None:
    async with client(port) as opened:
        for _ in range(2):
            answer = await opened.ask(request_mutants.image_message(image_seeds.found()[number]))
            assert campaign.complaint_about(answer) is None


async def test_an_answer_that_is_none_is_a_finding(resident: Resident, port: int) -> None:
    """The campaign sees a 500, and a connection that is closed for it."""

    async def fail() -> None:
        raise RuntimeError("of the test")

    resident.app.add_api_route("/nowhere", fail)
    asked = Message(b"GET /nowhere HTTP/1.1\r\nHost: sam3\r\n\r\n")
    report = await campaign.run(port, range(2), lambda _: asked)
    assert len(report.findings) == 2
    assert "500" in report.findings[0]
