"""Programs below their shim: exit codes, grace, and nothing left behind, however the node ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster.process_node.containers import SHIM, Process, last_word
from devcluster.processes import ProcessId

ENV = {"PATH": os.environ["PATH"]}


async def start(folder: Path, *command: str) -> Process:
    return await Process.start(command, ENV, folder, folder / "log", os.getpid())


def shell(script: str) -> tuple[str, str, str]:
    return ("sh", "-c", script)


async def text_of(file: Path) -> str:
    """Wait for a file to hold a whole line."""
    deadline = time.monotonic() + 20
    while not (text := await asyncio.to_thread(file.read_text)).endswith("\n"):
        assert time.monotonic() < deadline, f"{file} stays empty"
        await asyncio.sleep(0.01)
    return text


def gone(pid: int) -> bool:
    return ProcessId.of(pid) is None


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "still not so after 20 s"
        time.sleep(0.01)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
async def test_exit_codes(tmp_path: Path, script: str, code: int) -> None:
    assert await (await start(tmp_path, *shell(script))).wait() == code


async def test_output_environment_and_folder(tmp_path: Path) -> None:
    await (await start(tmp_path, *shell("pwd; echo wrong >&2; env | grep -c .; cat"))).wait()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == [str(tmp_path), "wrong"]
    assert int(lines[2]) <= 4, "nothing of the node's own environment"


async def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    assert await (await start(tmp_path, "no-such-program")).wait() == 128
    assert (tmp_path / "log").read_text() == "cannot start 'no-such-program': not found on PATH\n"


async def test_signals_are_as_a_program_expects_them(tmp_path: Path) -> None:
    code = "import signal as s; print(s.pthread_sigmask(s.SIG_BLOCK, []), s.getsignal(s.SIGTERM) == s.SIG_DFL)"
    await (await start(tmp_path, sys.executable, "-c", code)).wait()
    assert (tmp_path / "log").read_text() == "set() True\n"
    # a pipe that is closed ends its writer: SIGPIPE is not ignored
    assert await (await start(tmp_path, "bash", "-c", "yes | head -1; exit ${PIPESTATUS[0]}")).wait() == 141


async def test_sigterm_gives_time_to_end(tmp_path: Path) -> None:
    process = await start(tmp_path, *shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"))
    await text_of(tmp_path / "log")
    process.stop(grace=30)
    assert await process.wait() == 3
    assert (tmp_path / "log").read_text() == "up\nbye\n"


async def test_grace_ends(tmp_path: Path) -> None:
    process = await start(tmp_path, *shell("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await text_of(tmp_path / "log")
    process.stop(grace=600)
    process.stop(grace=0.1)
    process.stop(grace=600)
    async with asyncio.timeout(20):
        assert await process.wait() == 137


async def test_what_a_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    script = "setsid sh -c 'setsid sleep 600 & echo $!; wait' & sleep 0.3; exit 5"
    process = await start(tmp_path, *shell(script))
    assert await process.wait() == 5
    assert gone(int((tmp_path / "log").read_text()))


async def test_a_killed_program_takes_everything_along(tmp_path: Path) -> None:
    process = await start(tmp_path, *shell("trap '' TERM; setsid sleep 600 & echo $!; wait; wait; wait"))
    orphan = int(await text_of(tmp_path / "log"))
    process.stop(grace=0.05)
    async with asyncio.timeout(20):
        assert await process.wait() == 137
    assert gone(orphan)


NODE = f"""
import subprocess, sys, os
child = subprocess.Popen([sys.executable, "-I", "-S", {str(SHIM)!r}, str(os.getpid()), "sh", "-c",
                          "trap '' TERM; setsid sleep 600 & echo $! $$; wait; wait"], start_new_session=True)
child.wait()
"""


def test_a_killed_node_takes_everything_along(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        pids = [int(pid) for pid in node.stdout.readline().split()]
        assert not any(map(gone, pids))
        node.send_signal(signal.SIGKILL)
    eventually(lambda: all(map(gone, pids)))


def test_a_shim_whose_node_is_dead_already_starts_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-I", "-S", str(SHIM), "1", "touch", str(tmp_path / "started")])
    assert done.returncode == 137
    assert not (tmp_path / "started").exists()


def test_termination_messages(tmp_path: Path) -> None:
    file, log = tmp_path / "message", tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(500)))
    assert last_word(file, log, from_log=False) == ""
    assert last_word(file, log, from_log=True).splitlines() == [f"line {number}" for number in range(420, 500)]
    file.write_text("x" * 5000)
    assert last_word(file, log, from_log=True) == "x" * 4096
