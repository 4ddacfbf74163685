"""A real engine behind the adapter: `transformers serve`, which the adapter runs, and its clients' own library."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

import gpu_memory
from devcluster.programs.adapter import NEED_MIB, AdapterProcess, free_port
from devcluster.waiting import eventually
from tests.support.tiny_llama import save_tiny_llama

TOKEN = "let-me-in"
ANSWER = 200
"""Tokens of an answer that takes a second, and on a busy machine less than an unload waits for it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    save_tiny_llama(folder)
    return str(folder)


@pytest.fixture
def ledger(tmp_path: Path) -> gpu_memory.Ledger:
    (tmp_path / "gpu").mkdir()
    return gpu_memory.create_ledger(tmp_path / "gpu")


@pytest.fixture
def adapter(ledger: gpu_memory.Ledger, model: str, tmp_path: Path) -> Iterator[AdapterProcess]:
    (tmp_path / "token").write_text(TOKEN)
    port = free_port()
    command = [sys.executable, "-m", "tests.faults.transformers_serve", str(NEED_MIB), str(port), model]
    url = f"http://127.0.0.1:{port}"
    adapter = AdapterProcess(ledger, tmp_path / "token", profile="process", engine=url, command=command)
    yield adapter
    adapter.end()
    assert ledger.used_mib == 0


@pytest.fixture
def client(adapter: AdapterProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{adapter.proxy_url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def test_clients_of_openai_take_turns_with_a_training(
    adapter: AdapterProcess, client: openai.OpenAI, ledger: gpu_memory.Ledger, model: str
) -> None:
    """The first request starts the engine; an unload lets a stream end, then frees all; a load starts the engine."""
    stream = client.completions.create(model=model, prompt="the", max_tokens=ANSWER, stream=True)
    first = next(stream)
    assert ledger.used_mib == NEED_MIB
    ended: list[int] = []
    unload = threading.Thread(target=lambda: ended.append(adapter.unload(1).status_code))
    unload.start()
    eventually(lambda: adapter.report()["state"] == "draining" or ended, "the unload to begin")
    rest = list(stream)
    unload.join()
    assert ended == [200]
    assert len([first, *rest]) > ANSWER // 2
    assert rest[-1].choices[0].finish_reason == "length"
    assert ledger.used_mib == 0
    with pytest.raises(openai.InternalServerError) as refused:
        client.completions.create(model=model, prompt="the quick", max_tokens=8)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) > 0
    assert adapter.load(1).status_code == 200
    assert ledger.used_mib == NEED_MIB
    assert client.completions.create(model=model, prompt="the quick", max_tokens=8).choices
