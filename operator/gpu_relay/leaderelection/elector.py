"""Leader election: one operator acts, the others stand by with warm caches; a leader that cannot renew ends itself."""

import asyncio
import logging

from gpu_relay.clients.kube import KubeError
from gpu_relay.leaderelection.candidacy import Candidacy
from gpu_relay.leaderelection.lease import DeadMansSwitch, LeaderLease, monotonic
from gpu_relay.observability import metrics

logger = logging.getLogger(__name__)
_RETRY = 0.25
"""Of the period: the pause after a failed attempt, and the time that a leader keeps for ending."""


class LeadershipLostError(Exception):
    """Another operator may act now, or soon, so this process must end."""


class NotLeadingError(Exception):
    """Somebody tried to act without being the leader."""


class LeaderElector:
    """One process's part in the election. Everything that acts on the cluster asks `permit` first."""

    def __init__(self, lease: LeaderLease, identity: str, duration: float) -> None:
        """`duration` of the Lease in seconds; a leader that has not renewed for two thirds of it ends."""
        self._lease = lease
        self._me = Candidacy(identity, duration)
        self._switch = DeadMansSwitch()
        self._said = ""

    @property
    def leads(self) -> bool:
        """True while this process may act."""
        return self._me.lead_left(monotonic()) > 0

    def permit(self) -> None:
        """Return if this process may act; NotLeadingError otherwise."""
        if not self.leads:
            raise NotLeadingError("this operator does not lead (any longer), so it must not act")

    async def campaign(self) -> None:
        """Stand by until this process leads."""
        while not await self._try(self._me.period):
            if self._me.leader not in {"", self._me.identity}:
                self._say(logging.INFO, f"stands by: {self._me.leader} leads")
            await asyncio.sleep(min(self._me.period, max(_RETRY * self._me.period, self._me.wait(monotonic()))))
        self._say(logging.INFO, f"leads as {self._me.identity}")
        metrics.LEADER.set(1)

    async def keep(self) -> None:
        """Renew until cancelled; LeadershipLostError when that fails for too long, or another leads."""
        pause = self._me.period
        while True:
            await asyncio.sleep(pause)
            time_left = self._me.lead_left(monotonic()) - _RETRY * self._me.period
            if time_left <= 0:
                raise LeadershipLostError("could not renew the leader's Lease in time; this operator ends")
            renewed = await self._try(min(self._me.period, time_left))
            if self._me.leader != self._me.identity:
                raise LeadershipLostError(f"{self._me.leader} has taken the leader's Lease; this operator ends")
            pause = self._me.period * (1 if renewed else _RETRY)

    async def release(self) -> None:
        """Stand down and let another take over at once. Call it when nothing acts any more."""
        metrics.LEADER.set(0)
        record = self._me.record if self.leads else None
        self._me.stood_down()
        self._switch.disarm()
        if record is None:
            return
        try:
            async with asyncio.timeout(self._me.period):
                await self._lease.release(record)
        except (KubeError, TimeoutError) as error:
            logger.warning("the leader's Lease could not be released, so the next leader waits for its end: %s", error)

    async def _try(self, timeout: float) -> bool:
        """Read the Lease and take or renew it if we may; True when that was accepted within `timeout` seconds."""
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
        self._switch.hold(me.lead_left(monotonic()))
        return True

    def _say(self, level: int, message: str) -> None:
        """Log what is not what was said last."""
        if message != self._said:
            logger.log(level, "%s", message)
        self._said = message
