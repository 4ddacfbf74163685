"""Leader election: one operator acts, the others stand by with warm caches. A leader that cannot renew exits."""

import asyncio
import logging

from gpu_relay.clients.kube import KubeError
from gpu_relay.leaderelection.candidacy import Candidacy
from gpu_relay.leaderelection.lease import LeaderLease, Watchdog, monotonic
from gpu_relay.observability import metrics

logger = logging.getLogger(__name__)
_RETRY = 0.25
"""Fraction of the period: the pause after a failed attempt, and the time that a leader reserves for its exit."""


class LeadershipLostError(Exception):
    """Another operator may act now, or soon, so this process must exit."""


class NotLeadingError(Exception):
    """An attempt to act without being the leader."""


class LeaderElector:
    """The part of one process in the election. Everything that acts on the cluster calls `permit` first."""

    def __init__(self, lease: LeaderLease, identity: str, duration: float) -> None:
        """Create an elector. `duration` is in seconds; a leader that has not renewed for two thirds of it exits."""
        self._lease = lease
        self._me = Candidacy(identity, duration)
        self._watchdog = Watchdog()
        self._logged = ""

    @property
    def leads(self) -> bool:
        """Return whether this process may act."""
        return self._me.lead_left(monotonic()) > 0

    def permit(self) -> None:
        """Return if this process may act; NotLeadingError otherwise."""
        if not self.leads:
            raise NotLeadingError("this operator is not the leader (any longer), so it must not act")

    async def campaign(self) -> None:
        """Stand by until this process leads."""
        while not await self._try(self._me.period):
            if self._me.leader not in {"", self._me.identity}:
                self._say(logging.INFO, f"standby: {self._me.leader} is the leader")
            await asyncio.sleep(min(self._me.period, max(_RETRY * self._me.period, self._me.wait(monotonic()))))
        self._say(logging.INFO, f"is the leader, as {self._me.identity}")
        metrics.LEADER.set(1)

    async def keep(self) -> None:
        """Renew until cancelled. Raises LeadershipLostError if that fails for too long, or another candidate leads."""
        pause = self._me.period
        while True:
            await asyncio.sleep(pause)
            time_left = self._me.lead_left(monotonic()) - _RETRY * self._me.period
            if time_left <= 0:
                raise LeadershipLostError("could not renew the leader's Lease in time; exiting")
            renewed = await self._try(min(self._me.period, time_left))
            if self._me.leader != self._me.identity:
                raise LeadershipLostError(f"{self._me.leader} has taken the leader's Lease; exiting")
            pause = self._me.period * (1 if renewed else _RETRY)

    async def release(self) -> None:
        """Release leadership, so that another candidate leads immediately. Call it when nothing acts any more."""
        metrics.LEADER.set(0)
        record = self._me.record if self.leads else None
        self._me.stood_down()
        self._watchdog.disarm()
        if record is None:
            return
        try:
            async with asyncio.timeout(self._me.period):
                await self._lease.release(record)
        except (KubeError, TimeoutError) as error:
            logger.warning(
                "the leader's Lease could not be released, so the next leader waits until it expires: %s", error
            )

    async def _try(self, timeout: float) -> bool:
        """Read the Lease, and take or renew it if allowed; return whether that succeeded within `timeout` seconds."""
        me = self._me
        try:
            async with asyncio.timeout(timeout):
                me.see(await self._lease.read(), monotonic())
                asked_at = monotonic()
                if me.wait(asked_at) > 0:
                    return False
                record = await self._lease.take(me.record, me.identity, me.duration)
        except (KubeError, TimeoutError) as error:
            self._say(logging.WARNING, f"the leader's Lease: {str(error) or 'no answer in time'}")
            return False
        me.won(record, asked_at, monotonic())
        self._watchdog.hold(me.lead_left(monotonic()))
        return True

    def _say(self, level: int, message: str) -> None:
        """Log a message, unless it is the same as the last one."""
        if message != self._logged:
            logger.log(level, "%s", message)
        self._logged = message
