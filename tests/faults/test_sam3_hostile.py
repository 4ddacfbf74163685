"""Malformed, oversized, truncated and hostile requests against a server process with a loaded (tiny) model.

`SAM3_HOSTILE_REQUESTS=10000` runs what was promised; the default is a sample.
"""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

import gpu_memory
from devcluster.programs.sam3 import PNG, TEXT, TOKEN, Server, tiny_model
from tests.faults import sam3_hostile

REQUESTS = int(os.environ.get("SAM3_HOSTILE_REQUESTS", "400"))
CORPUS, SENSELESS, VALID, CONTROL = REQUESTS * 45 // 100, REQUESTS * 40 // 100, REQUESTS // 10, REQUESTS // 20
SEED = 7
INFERENCE = (
    "/api/v1/segment",
    "/sam3/concept_segment",
    "/sam3/visual_segment",
    "/sam3/embed_image",
    "/v1/predict",
)
WARM_UP = 100
MOST_GROWTH_MIB = 48
MOST_CONNECTIONS = 8

pytestmark = pytest.mark.filterwarnings("ignore::Warning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    token_file: Path = folder / "token"
    token_file.write_text(TOKEN)
    limits = {"SAM3_MAX_IMAGE_PIXELS": "1000000", "SAM3_MAX_IMAGE_MIB": "1", "SAM3_LOG_LEVEL": "error"}
    server = Server(gpu_memory.create_ledger(folder / "gpu"), tiny_model(), token_file, limits)
    try:
        assert server.segment().status_code == 200
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module", autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """After every test the same processes run, with no more memory and no more descriptors."""
    for arguments in itertools.islice(sam3_hostile.requests(SEED + 1), WARM_UP):
        server.client.request(**arguments)
    workers, descriptors, memory = server.workers(), server.descriptors(), server.resident_mib()
    yield
    assert server.workers() == workers
    assert server.descriptors() - descriptors <= MOST_CONNECTIONS
    assert server.resident_mib() - memory <= MOST_GROWTH_MIB
    assert server.metric("sam3_worker_deaths_total") == 0
    assert server.segment().status_code == 200


def require_in_order(status: int, retry_after: object, what: object) -> None:
    assert status < 500 or (status == 503 and retry_after), f"{status} for {what}"


def made_of_the_schema(
    server: Server, mode: GenerationMode, wanted: Callable[[str], bool]
) -> st.SearchStrategy["Case[Any]"]:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    return st.one_of([each.as_strategy(generation_mode=mode) for each in operations if wanted(each.path)])


def test_broken_images_and_bodies_are_refused(server: Server) -> None:
    statuses: Counter[int] = Counter()
    for arguments in itertools.islice(sam3_hostile.requests(SEED), CORPUS):
        answer = server.client.request(**arguments)
        require_in_order(answer.status_code, answer.headers.get("retry-after"), arguments)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        statuses[answer.status_code] += 1
    print(f"\n{statuses}")
    assert statuses.keys() >= {200, 405, 413, 415, 422}, "the sample has something of everything"


def with_a_real_image(case: "Case[Any]") -> None:
    """What the schema allows is answered, if only the image is one."""
    body: Any = case.body
    if isinstance(body, dict) and "image" in body:
        text = {"type": "base64", "value": TEXT} if case.path.startswith("/sam3/") else TEXT
        body["image"] = PNG if case.media_type == "multipart/form-data" else text


@pytest.mark.parametrize(("mode", "count"), [(GenerationMode.NEGATIVE, SENSELESS), (GenerationMode.POSITIVE, VALID)])
def test_what_schemathesis_makes_of_the_schema(server: Server, mode: GenerationMode, count: int) -> None:
    cases = made_of_the_schema(server, mode, lambda path: path in INFERENCE)
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=count, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def send(case: "Case[Any]") -> None:
        if mode is GenerationMode.POSITIVE:
            with_a_real_image(case)
        answer = case.call(base_url=server.url)
        retry_after = answer.headers.get("retry-after")
        require_in_order(answer.status_code, retry_after, case.as_curl_command())
        statuses[answer.status_code] += 1

    send()
    print(f"\n{statuses}")
    assert mode is GenerationMode.NEGATIVE or statuses[200] > 0


def test_control_calls_that_make_no_sense_change_nothing(server: Server) -> None:
    cases = made_of_the_schema(server, GenerationMode.NEGATIVE, lambda path: path not in INFERENCE)

    @settings(
        max_examples=CONTROL, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def send(case: "Case[Any]") -> None:
        answer = case.call(base_url=server.url, headers={"Authorization": "Bearer guessed"})
        require_in_order(answer.status_code, answer.headers.get("retry-after"), case.as_curl_command())
        assert server.health()["model_loaded"]

    send()


def test_broken_http(server: Server) -> None:
    for words in sam3_hostile.RAW * max(1, REQUESTS // 400):
        status = sam3_hostile.speak(server.port, words)
        assert status is None or 200 <= status < 500, words[:80]
