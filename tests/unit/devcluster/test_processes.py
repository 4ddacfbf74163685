import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.errors import ClusterError
from devcluster.processes import Processes, ProcessId, end_processes, marked

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# Leaves a child behind, in a session of its own, as containerd does with its shims.
PARENT = [sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)"]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path)
    yield processes
    processes.end_rest()


def test_a_process_is_known_by_its_start_time_too() -> None:
    own = ProcessId.own()
    assert own.alive()
    assert not own.model_copy(update={"started": "another-boot/1"}).alive()


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert ProcessId.of(child.pid) is None
    child.wait()


def test_a_stranger_with_a_recorded_id_is_never_signalled() -> None:
    stranger = subprocess.Popen(SLEEP)
    try:
        known = ProcessId.of(stranger.pid)
        assert known is not None
        end_processes([known.model_copy(update={"started": "before/1"})], signal.SIGKILL, 1.0)
        assert known.alive()
        end_processes([known], signal.SIGKILL, 5.0)
        assert not known.alive()
    finally:
        stranger.kill()
        stranger.wait()


def test_processes_are_recorded_and_ended_by_name(processes: Processes) -> None:
    processes.start("one", SLEEP)
    processes.start("two", SLEEP)
    fresh = Processes(processes.run_dir)  # as another process would see them
    assert set(fresh.all()) == {"one", "two"}
    assert fresh.dead() == []
    processes.end(["one"])
    assert fresh.dead() == ["one"]


def test_grace_lets_a_process_end_by_itself(processes: Processes) -> None:
    program = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit())); "
    processes.start("polite", [sys.executable, "-u", "-c", program + "print('ready'); time.sleep(60)"])
    assert eventually(lambda: "ready" in processes.tail("polite"))
    processes.end(["polite"], grace=10.0)
    assert "bye" in processes.tail("polite")


def test_waiting_fails_at_once_with_the_log_of_a_process_that_ended(processes: Processes) -> None:
    processes.start("broken", [sys.executable, "-c", "import sys; print('no such file'); sys.exit(3)"])
    with pytest.raises(ClusterError, match=r"broken ended with status 3[\s\S]*no such file"):
        processes.wait_for("it", lambda: False, 60.0, ["broken"])


def test_waiting_gives_up_at_the_deadline(processes: Processes) -> None:
    processes.start("slow", SLEEP)
    with pytest.raises(ClusterError, match="the thing was not ready"):
        processes.wait_for("the thing", lambda: False, 0.1, ["slow"])


def test_what_no_record_names_is_found_by_its_mark_and_ended(processes: Processes) -> None:
    processes.start("parent", PARENT)
    assert eventually(lambda: processes.dead() == ["parent"])
    orphans = marked(processes.run_dir)
    assert len(orphans) == 1
    processes.end_rest()
    assert not orphans[0].alive()


def test_a_process_is_found_while_its_program_is_loaded(processes: Processes) -> None:
    """One CPU for both: the starter often continues before the kernel has set up the new program's environment."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for number in range(100):
            name = f"loading-{number}"
            processes.start(name, ["sleep", "60"])
            assert marked(processes.run_dir) == [processes.all()[name]]
            processes.end([name])
    finally:
        os.sched_setaffinity(0, cpus)


def test_a_truncated_record_names_no_process(processes: Processes) -> None:
    processes.start("one", SLEEP)
    (processes.run_dir / "processes" / "one.json").write_text('{"pid": 1')
    assert processes.all() == {}
