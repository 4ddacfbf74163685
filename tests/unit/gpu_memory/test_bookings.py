"""Bookings live exactly as long as processes hold them, and never exceed what is free."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_memory import Booking, Ledger, create_ledger
from tests.unit.gpu_memory.conftest import Python, environment

BOOK = "import gpu_memory, os; ledger = gpu_memory.Ledger(os.environ['GPU_RELAY_SIMULATED_GPU']); "
USED = "import gpu_memory; print(gpu_memory.read().used_mib)"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "still not so after 20 s"
        time.sleep(0.01)


def test_a_killed_process_frees_its_memory(python: Python, ledger: Ledger) -> None:
    process = python.start(BOOK + "booking = ledger.book(14000); print('booked', flush=True); input()")
    assert python(USED) == "14000"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert python(USED) == "0"
    assert ledger.free_mib == 14910


def test_a_block_that_ends_frees_its_memory(ledger: Ledger) -> None:
    with ledger.book(14000) as booking:
        assert ledger.used_mib == booking.mib == 14000
    assert ledger.used_mib == 0
    assert not booking.path.exists()
    booking.close()


def test_more_than_is_free_is_pytorchs_out_of_memory_error(ledger: Ledger) -> None:
    wanted = re.escape("Tried to allocate 4.80 GiB")
    with ledger.book(10000), pytest.raises(torch.OutOfMemoryError, match=wanted) as error:
        ledger.book(4911)
    assert "15.00 GiB of which 4.79 GiB is free" in str(error.value)
    assert list((ledger.path / "bookings").iterdir()) == []


def test_without_pytorch_it_is_a_memory_error(python: Python) -> None:
    code = (
        BOOK + "import sys; sys.modules['torch'] = None\n"
        "try: ledger.book(20000)\n"
        "except MemoryError as error: print(type(error).__name__, error)"
    )
    assert python(code).startswith("SimulatedOutOfMemoryError CUDA out of memory")


def test_exactly_what_is_free_can_be_booked(ledger: Ledger) -> None:
    with ledger.book(14910):
        assert ledger.free_mib == 0


def test_a_negative_size_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not negative"):
        ledger.book(-1)


def test_a_forked_child_shares_the_booking(python: Python) -> None:
    process = python.start(
        BOOK + "booking = ledger.book(5000); child = os.fork()\n"
        "if child == 0:\n"
        "    import time; time.sleep(60); os._exit(0)\n"
        "print(child, flush=True); print(child, flush=True); input()"
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert python(USED) == "5000", "counted once"
        process.kill()
        process.wait()
        assert python(USED) == "5000", "the child still holds it"
    finally:
        os.kill(child, signal.SIGKILL)
    eventually(lambda: python(USED) == "0")


def test_a_forked_child_cannot_give_back_what_its_parent_booked(ledger: Ledger) -> None:
    with ledger.book(5000) as booking:
        child = os.fork()
        if child == 0:
            booking.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert ledger.used_mib == 5000


def test_a_program_started_by_the_booker_does_not_hold_the_booking(ledger: Ledger) -> None:
    booking = ledger.book(5000)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        booking.close()
        assert ledger.used_mib == 0
        child.kill()


def test_what_dead_processes_left_is_swept_and_never_counted(python: Python, ledger: Ledger) -> None:
    bookings = ledger.path / "bookings"
    (bookings / "1-dead").write_text("9000\n", encoding="utf-8")
    (bookings / ".1-half-made").write_text("", encoding="utf-8")
    assert python(USED) == "0"
    with ledger.book(14910) as booking:
        assert list(bookings.iterdir()) == [booking.path]


def test_a_reader_of_a_dead_booking_does_not_make_it_live(python: Python, ledger: Ledger) -> None:
    import fcntl

    dead = ledger.path / "bookings" / "1-dead"
    dead.write_text("9000\n", encoding="utf-8")
    with dead.open(encoding="utf-8") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert ledger.used_mib == 0
        assert python(USED) == "0"


RACE = """
import contextlib, gpu_memory, os, random, sys
sys.modules["torch"] = None  # importing it takes longer than the race
ledger = gpu_memory.Ledger(os.environ["GPU_RELAY_SIMULATED_GPU"])
chance = random.Random(int(sys.argv[1]))
capacity = ledger.total_mib - ledger.reserved_mib
refused = 0
for _ in range(60):
    with contextlib.ExitStack() as held:
        for _ in range(chance.randint(1, 3)):
            try:
                held.enter_context(ledger.book(chance.randint(0, capacity // 2)))
            except gpu_memory.SimulatedOutOfMemoryError:
                refused += 1
        with ledger._locked():  # no process books meanwhile, so the sum is exact
            assert ledger.used_mib <= capacity, ledger.used_mib
print(refused)
"""


def test_eight_racing_processes_never_hold_more_than_there_is(ledger: Ledger) -> None:
    def start(seed: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RACE, str(seed)]
        return subprocess.Popen(command, env=environment(ledger), stdout=subprocess.PIPE, text=True)

    racers = [start(seed) for seed in range(8)]
    answers = [(racer.communicate(timeout=120)[0], racer.returncode) for racer in racers]
    assert [code for _, code in answers] == [0] * 8
    assert sum(int(answer) for answer, _ in answers) > 0, "a race without a refusal proves nothing"
    assert ledger.used_mib == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(st.integers(0, 16000), st.just("free one")), max_size=12))
def test_any_sequence_keeps_the_books(ledger: Ledger, steps: list[int | str]) -> None:
    held: list[Booking] = []
    try:
        for step in steps:
            if not isinstance(step, int):
                if held:
                    held.pop(0).close()
            elif step <= 14910 - sum(booking.mib for booking in held):
                held.append(ledger.book(step))
            else:
                with pytest.raises(torch.OutOfMemoryError):
                    ledger.book(step)
            assert ledger.used_mib == sum(booking.mib for booking in held)
            assert ledger.free_mib == 14910 - ledger.used_mib
    finally:
        for booking in held:
            booking.close()


@pytest.fixture
def open_ledger() -> Iterator[Ledger]:
    """A ledger that every user can reach, unlike pytest's own folders."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield create_ledger(folder / "gpu")
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_users_share_a_gpu(open_ledger: Ledger) -> None:
    def as_user(uid: int, code: str) -> None:
        child = os.fork()
        if child == 0:
            os.umask(0o077)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                exec(code, {"ledger": open_ledger})
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    as_user(10001, "ledger.book(100)._descriptor")  # dies with its booking: a leftover of another user
    with open_ledger.book(300):
        as_user(10002, "assert ledger.used_mib == 300; booking = ledger.book(200); assert ledger.used_mib == 500")
    as_user(10003, "ledger.book(14910)")


def test_creating_again_keeps_the_uuid_and_the_bookings(ledger: Ledger) -> None:
    with ledger.book(100):
        again = create_ledger(ledger.path, total_mib=8192, name="Small")
        assert (again.uuid, again.total_mib, again.name, again.used_mib) == (ledger.uuid, 8192, "Small", 100)


def test_invalid_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot reserve 450 MiB"):
        create_ledger(tmp_path / "gpu", total_mib=100)
    assert not (tmp_path / "gpu").exists()
