"""One container of a pod: started, probed, started again as the restart policy says."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from os import getpid
from typing import Any

import aiohttp

from devcluster.process_node import shim
from devcluster.process_node.containers import Process, last_word
from devcluster.process_node.environment import ConfigError
from devcluster.process_node.launch import Launch
from devcluster.process_node.probes import Probe, observe
from devcluster.process_node.status import ContainerState, Running, Terminated, Waiting, restarts
from gpu_relay.clients.kube import KubeError

Object = dict[str, Any]
_RETRY_SECONDS = 1.0
_LONGEST_DELAY = 300.0
#: A container that ran this long, in seconds, has its back-off forgotten.
_STABLE = 600.0


class Ending:
    """Asks all processes of one pod to end, within a number of seconds."""

    def __init__(self) -> None:
        self.grace: float | None = None
        self._set = asyncio.Event()

    def __bool__(self) -> bool:
        return self._set.is_set()

    def order(self, grace: float) -> float:
        """End within `grace` seconds; returns the least that was ever ordered."""
        self.grace = grace if self.grace is None else min(self.grace, grace)
        self._set.set()
        return self.grace

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the order to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._set.wait()


@dataclass(frozen=True)
class Surroundings:
    """What a container needs of its pod. Times are in seconds."""

    launch: Callable[[Object, int], Awaitable[Launch]]
    changed: Callable[[], None]
    ending: Ending
    session: aiohttp.ClientSession
    address: str
    restart_delay: float
    grace: float


class ContainerRunner:
    """Runs one container; `state` is always what is to be reported of it."""

    def __init__(self, spec: Object, state: ContainerState, policy: str, around: Surroundings) -> None:
        self.spec = spec
        self.state = state
        self._policy = policy
        self._around = around
        self._process: Process | None = None
        self._probes: dict[str, Probe] = {}
        self._crashes = 0

    async def run(self) -> bool:
        """Run until it has ended for good, or the pod is to end; returns whether it succeeded."""
        while not self._around.ending:
            if isinstance(self.state.now, Terminated):
                if not restarts(self._policy, self.state.now.exit_code):
                    break
                await self._back_off(self.state.now)
            elif launch := await self._start():
                await self._attend(launch)
        return isinstance(self.state.now, Terminated) and self.state.now.exit_code == 0

    def stop(self, grace: float) -> None:
        """Ask the program to end, and make it end after `grace` seconds."""
        if self._process:
            self._process.stop(grace)

    async def _back_off(self, ended: Terminated) -> None:
        self.state.last = ended
        if (ended.finished - ended.started).total_seconds() > _STABLE:
            self._crashes = 0
        delay = restart_delay(self._crashes, self._around.restart_delay)
        self._crashes += 1
        message = f"back-off {delay:.0f}s restarting failed container={self.spec['name']}" if delay else ""
        self._become(Waiting("CrashLoopBackOff" if delay else "ContainerCreating", message))
        await self._around.ending.pause(delay)

    async def _start(self) -> Launch | None:
        restart = self.state.restarts + (1 if self.state.last else 0)
        ports = self.spec.get("ports", [])
        try:
            self._probes = {
                key: Probe(self.spec[key], ports, self._around.address) for key in _VERDICTS if key in self.spec
            }
            launch = await self._around.launch(self.spec, restart)
            self._process = await Process.start(launch.command, launch.env, launch.folder, launch.log, getpid())
        except (ConfigError, KubeError, OSError) as error:
            reason = error.reason if isinstance(error, ConfigError) else "CreateContainerError"
            self._become(Waiting(reason, str(error)))
            await self._around.ending.pause(_RETRY_SECONDS)
            return None
        if self._around.ending:
            self._process.stop(self._around.ending.grace or 0)
        self.state.restarts = restart
        self.state.container_id = f"process://{_identity(self._process.pid, launch)}"
        self._become(Running(datetime.now(UTC)))
        return launch

    async def _attend(self, launch: Launch) -> None:
        assert self._process is not None
        assert isinstance(self.state.now, Running)
        with self._probed():
            code = await self._process.wait()
        self._process = None
        self.state.ready = self.state.started = False
        self._become(self._ended(launch, code, self.state.now.since))

    def _ended(self, launch: Launch, code: int, started: datetime) -> Terminated:
        policy = self.spec.get("terminationMessagePolicy", "File")
        from_log = code == shim.NOT_STARTED or (code != 0 and policy == "FallbackToLogsOnError")
        message = last_word(launch.termination_file, launch.log, from_log=from_log)
        return Terminated(
            code,
            "Completed" if code == 0 else "StartError" if code == shim.NOT_STARTED else "Error",
            started,
            datetime.now(UTC),
            launch.mounts.to_paths(message),
            self.state.container_id,
        )

    @contextmanager
    def _probed(self) -> Iterator[None]:
        task = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            task.cancel()

    async def _probe(self) -> None:
        """Ask for the startup first; then for readiness and liveness, side by side."""
        if "startupProbe" in self._probes:
            await self._observe("startupProbe")
            if not self.state.started:
                return
        self._mark(started=True, ready="readinessProbe" not in self._probes)
        await asyncio.gather(*(self._observe(key) for key in self._probes if key != "startupProbe"))

    async def _observe(self, key: str) -> None:
        probe = self._probes[key]
        await observe(probe, lambda: probe.passes(self._around.session), lambda passes: _VERDICTS[key](self, passes))

    def _startup(self, passes: bool) -> bool:
        if passes:
            self.state.started = True
        else:
            self.stop(self._around.grace)
        return False

    def _readiness(self, passes: bool) -> bool:
        self._mark(started=True, ready=passes)
        return True

    def _liveness(self, passes: bool) -> bool:
        if not passes:
            self.stop(self._around.grace)
        return passes

    def _mark(self, *, started: bool, ready: bool) -> None:
        self.state.started, self.state.ready = started, ready
        self._around.changed()

    def _become(self, now: Waiting | Running | Terminated) -> None:
        self.state.now = now
        self._around.changed()


_VERDICTS: dict[str, Callable[[ContainerRunner, bool], bool]] = {
    "startupProbe": ContainerRunner._startup,
    "readinessProbe": ContainerRunner._readiness,
    "livenessProbe": ContainerRunner._liveness,
}


def restart_delay(crashes: int, first: float) -> float:
    """Return the seconds before a start: none at first, then `first`, doubled each time up to five minutes."""
    return 0.0 if crashes == 0 else min(_LONGEST_DELAY, first * 2.0 ** min(crashes - 1, 32))


def _identity(pid: int, launch: Launch) -> str:
    return hashlib.sha256(f"{pid} {launch.log}".encode()).hexdigest()
