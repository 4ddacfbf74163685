"""Who has used the GPUs for how long: the fields of `kubectl relay usage -o json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.owner import WORKLOAD
from gpu_relay.domain.objects.usage import RESIDENT, Account, Day, archive_key, day_of

_HOUR = 3600.0
Records = Mapping[str, Mapping[str, Day]]
"""The accounts of each GPU, by the keys of the archive."""


class Group(StrEnum):
    """What the accounts are added up by."""

    NAMESPACE = "namespace"
    JOB = "job"
    GPU = "gpu"
    DAY = "day"


@dataclass(frozen=True)
class UsageLine:
    """The accounts of one namespace, job, GPU or day; of the residents where `is_resident`."""

    name: str
    is_resident: bool
    turn_seconds: float
    """From the Leases of turns to their returns; of the residents, the time in which they had their GPUs."""
    reload_seconds: float
    """After turns, until the resident was loaded or the next turn began."""
    trained_seconds: float
    """In which pods ran, in turns that have ended."""
    mib_hours: float
    turns: int
    refused: int
    cost: float | None
    """GPU hours of turns and reloads times the price; None without a price."""

    @property
    def gpu_seconds(self) -> float:
        """Return for how long the owner kept the GPU from others."""
        return self.turn_seconds + self.reload_seconds


@dataclass(frozen=True)
class UsageReport:
    """Lines, those with the most GPU time first, and the residents' last; days in their order."""

    begin: str
    """The first day, in UTC."""
    until: datetime
    by: Group
    counted_seconds: float
    """The time that is counted of all GPUs, also of owners that have no line."""
    lines: tuple[UsageLine, ...]
    unknown: tuple[str, ...] = ()


def merged(archived: Records, leases: Mapping[str, GpuLease], now: datetime) -> dict[str, dict[str, Day]]:
    """Return the archive with what the Leases have counted since; a Lease counts up to now."""
    records = {gpu: dict(keys) for gpu, keys in archived.items()}
    for gpu, lease in leases.items():
        if lease.usage is not None:
            found = {archive_key(day, lease.uid): accounts for day, accounts in lease.usage_at(now).days.items()}
            records.setdefault(gpu, {}).update(found)
    return records


def usage_report(
    records: Records,
    now: datetime,
    *,
    since: timedelta,
    by: Group,
    namespace: str | None = None,
    price: float | None = None,
    unknown: tuple[str, ...] = (),
) -> UsageReport:
    """Add the accounts up, of the day in which `since` begins and of all later days; or those of one namespace."""
    begin, counted, sums = day_of(now - since), 0.0, dict[tuple[bool, str], Account]()
    for gpu, day, owner, account in _accounts(records, begin):
        counted += account.owned + account.reloading
        if namespace is None or _name(Group.NAMESPACE, gpu, day, owner) == namespace:
            place = owner == RESIDENT and by in {Group.NAMESPACE, Group.JOB}, _name(by, gpu, day, owner)
            sums[place] = sums.get(place, Account()) + account
    lines = [_line(name, account, price, is_resident=of) for (of, name), account in sums.items()]
    lines.sort(key=lambda line: (line.is_resident, line.name if by == Group.DAY else "", -line.gpu_seconds, line.name))
    return UsageReport(begin, now, by, round(counted, 3), tuple(lines), unknown)


def _accounts(records: Records, begin: str) -> Iterator[tuple[str, str, str, Account]]:
    """Yield GPU, day, owner and account, of this day and of later ones."""
    for gpu, keys in records.items():
        for key, accounts in keys.items():
            day = key.partition(".")[0]
            if day >= begin:
                yield from ((gpu, day, owner, account) for owner, account in accounts.items())


def _name(by: Group, gpu: str, day: str, owner: str) -> str:
    if by == Group.GPU:
        return gpu
    if by == Group.DAY:
        return day
    if owner == RESIDENT:
        return RESIDENT
    kind, namespace, name = owner.split("/", 2) if owner.count("/") == 2 else ("", owner, "")
    if by == Group.NAMESPACE:
        return namespace
    return f"{'Workload ' if kind == WORKLOAD else ''}{namespace}/{name}"


def _line(name: str, account: Account, price: float | None, *, is_resident: bool) -> UsageLine:
    hours = (account.owned + account.reloading) / _HOUR
    return UsageLine(
        name=name,
        is_resident=is_resident,
        turn_seconds=round(account.owned, 3),
        reload_seconds=round(account.reloading, 3),
        trained_seconds=round(account.trained, 3),
        mib_hours=round(account.mib_seconds / _HOUR, 3),
        turns=account.turns,
        refused=account.refused,
        cost=None if price is None or is_resident else round(hours * price, 4),
    )
