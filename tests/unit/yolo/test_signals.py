import os
import signal
from collections.abc import Iterator

import pytest

from yolo_trainer.gpu_stage import import_libraries
from yolo_trainer.training.signals import SIGNALS, Interrupted, Interruption


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption()
    interruption.install()
    yield interruption
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_process_at_once_with_143(interruption: Interruption, number: int) -> None:
    with pytest.raises(SystemExit) as caught:
        os.kill(os.getpid(), number)

    assert caught.value.code == 143


def test_no_except_exception_catches_it(interruption: Interruption) -> None:
    with pytest.raises(Interrupted):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pytest.fail("a library would have swallowed it")


def test_deferred_it_waits_for_the_next_check(interruption: Interruption) -> None:
    reached = []
    with pytest.raises(Interrupted), interruption.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the end of the batch")
        interruption.check()
        reached.append("the next batch")

    assert reached == ["the end of the batch"]


def test_deferred_it_is_raised_at_the_blocks_end_at_the_latest(interruption: Interruption) -> None:
    with pytest.raises(Interrupted), interruption.deferred():
        os.kill(os.getpid(), signal.SIGTERM)


def test_after_the_block_it_is_immediate_again(interruption: Interruption) -> None:
    with interruption.deferred():
        pass

    with pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_error_in_the_block_is_not_hidden(interruption: Interruption) -> None:
    with pytest.raises(ValueError, match="the cause"), interruption.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("the cause")


def test_ignored_it_does_nothing(interruption: Interruption) -> None:
    interruption.ignore()

    os.kill(os.getpid(), signal.SIGTERM)


def test_a_forked_child_ends_without_saving_anything(interruption: Interruption) -> None:
    child = os.fork()
    if child == 0:
        with interruption.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143


def test_an_import_is_never_interrupted(interruption: Interruption, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch calls Python from C++ while it is imported, and aborts the process when that raises."""
    imported = []

    def interrupted_import() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        imported.append("all of it")

    monkeypatch.setattr("yolo_trainer.training.offline.import_ultralytics", interrupted_import)

    with pytest.raises(Interrupted):
        import_libraries(interruption)

    assert imported == ["all of it"]
