"""Where the weights lie: in a standby's own memory, in one buffer, and their way to a device by small blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import Sam3Model

from devcluster.programs.sam3 import LOAD_SECONDS, MIB, TOKEN, Server
from devcluster.waiting import eventually
from residency import linux
from sam3_server import tiny_model as tiny
from sam3_server.worker.network import Network
from sam3_server.worker.weights import Weights, copy_in_blocks

WORDS = 1_000_000  # rows of an embedding that no inference reads
EMBEDDING_MIB = WORDS * 32 * 4 // MIB


@pytest.fixture(scope="module", params=["float32", "float16"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, but for 122 MiB of weights, stored in one dtype."""
    folder = tmp_path_factory.mktemp("model")
    tiny.make(folder)
    config = Sam3Model.from_pretrained(folder).config
    config.text_config.vocab_size = WORDS
    Sam3Model(config).to(getattr(torch, request.param)).save_pretrained(folder)
    return folder


@pytest.fixture
def server(model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that takes a GPU for granted, as one does on a node with a driver; it is held all the while."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    server = Server(None, model, token_file, {"SAM3_DTYPE": request.param})
    server.unload(fence=1, ttl_seconds=600)
    yield server
    server.end()


def own_mib(pid: int) -> int:
    """Resident memory that no file backs, and that is not shared with the zygote it was forked from."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) // 1024


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/smaps").read_text()


@pytest.mark.parametrize("server", ["auto", "float32"], indirect=True)
def test_a_standby_holds_the_weights_in_memory_of_its_own(server: Server) -> None:
    assert server.metric("sam3_standby_weights_mib") == 0
    eventually(server.standby_ready, "a standby", within=LOAD_SECONDS)
    (standby,) = server.workers()
    assert own_mib(standby) >= EMBEDDING_MIB
    assert ".safetensors" not in mapped(standby), "they may be dropped, or change with the file"
    assert EMBEDDING_MIB <= server.metric("sam3_standby_weights_mib") <= EMBEDDING_MIB + 5


def test_the_weights_are_one_buffer_and_are_those_of_the_file(model: Path) -> None:
    network = Network(model, torch.float32)
    stored = dict(Sam3Model.from_pretrained(model, dtype=torch.float32).named_parameters())
    for name, parameter in network._model.named_parameters():
        assert torch.equal(parameter, stored[name]), name
        assert not parameter.requires_grad
    assert len({each.untyped_storage().data_ptr() for each in network._model.parameters()}) == 1
    assert network.weights.resident_mib() > EMBEDDING_MIB


def test_what_was_never_touched_is_not_called_resident() -> None:
    size = 64 * MIB
    untouched = torch.empty(size, dtype=torch.uint8)
    assert linux.resident_bytes(untouched.data_ptr(), size) < MIB
    untouched[: size // 2] = 1
    assert abs(linux.resident_bytes(untouched.data_ptr(), size) - size // 2) < 4 * MIB
    assert linux.resident_bytes(0, 0) == 0


def test_each_parameter_gets_its_dtype_and_its_value() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5), torch.nn.Linear(5, 1))
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    halves = dict.fromkeys(model[0].parameters(), torch.float16)
    Weights(model, halves, default=torch.float32)
    for name, each in model.named_parameters():
        expected = torch.float16 if name.startswith("0.") else torch.float32
        assert each.dtype is expected
        assert torch.equal(each, before[name].to(expected)), name
        assert each.data_ptr() % 64 == 0


class Dma:
    """Reads blocks late, as a device does: what is in one when `synchronize` is called is what arrives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.most_pending = 0
        copy = torch.Tensor.copy_

        def late(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
            if not non_blocking:
                return copy(target, source)
            self._pending.append((target, source))
            self.most_pending = max(self.most_pending, len(self._pending))
            return target

        self._copy: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = copy
        monkeypatch.setattr(torch.Tensor, "copy_", late)

    def synchronize(self) -> None:
        for target, source in self._pending:
            self._copy(target, source)
        self._pending.clear()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17, 41])
def test_a_device_that_reads_late_gets_every_byte(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    dma = Dma(monkeypatch)
    source, target = torch.arange(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
    copy_in_blocks(source, target, [torch.zeros(8, dtype=torch.uint8) for _ in range(2)], dma.synchronize)
    assert target.tolist() == source.tolist()
    assert dma.most_pending <= 1
