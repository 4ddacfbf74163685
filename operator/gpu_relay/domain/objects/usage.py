"""How long each owner has had a GPU, by day: a record in the GPU's Lease, which every change of the Lease continues.

A change of owner and its count are one write, so no restart and no lost answer counts a second twice, or leaves it out.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gpu_relay.domain.objects.owner import JobKey
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.untrusted import mapping, moment, read_object, text, whole

RESIDENT = "resident"
"""The account of a GPU's residents."""
MOST_OWNERS = 100
"""Accounts of one day on one GPU; further owners share the account of their namespace, and then one account."""
MOST_DAYS = 4
"""Days in one record, the newest: annotations may have 256 KiB in all, also where days cannot be archived."""
_OTHERS = "*"
_LARGEST = 2**53


@dataclass(frozen=True)
class Account:
    """What one owner has used of one GPU on one day. Times are seconds."""

    owned: float = 0.0
    """It had the GPU: a turn, from the Lease to its return, or the time in which the residents had it."""
    reloading: float = 0.0
    """After its turn, until the resident was loaded or the next turn began."""
    trained: float = 0.0
    """Its pods ran, in turns that have ended."""
    mib_seconds: float = 0.0
    """The GPU memory that it had requested, times `owned`."""
    turns: int = 0
    """Turns that have begun."""
    refused: int = 0
    """Requests that the resident refused during its turns that have ended."""

    def __add__(self, other: "Account") -> "Account":
        return Account(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


Day = Mapping[str, Account]
"""The accounts of one day, by owner."""


@dataclass(frozen=True)
class Usage:
    """The record of one Lease. Days are dates in UTC."""

    counted_to: datetime
    """Until when all time is counted."""
    need_mib: int = 0
    """What the present owner has requested, for each of its GPUs."""
    days: Mapping[str, Day] = field(default_factory=dict)

    def continued(self, owner: str, now: datetime, *, reloading: bool = False) -> "Usage":
        """Return the record up to now, when this owner has had the GPU since `counted_to`."""
        found, end = self, max(now.astimezone(UTC), self.counted_to)
        for day, seconds in _by_day(self.counted_to, end):
            memory = 0.0 if reloading else seconds * self.need_mib
            spent = Account(reloading=seconds) if reloading else Account(owned=seconds, mib_seconds=memory)
            found = found.added(day, owner, spent)
        kept = sorted(found.days)[-MOST_DAYS:]
        return replace(found, counted_to=end, days={day: found.days[day] for day in kept})

    def added(self, day: str, owner: str, more: Account) -> "Usage":
        """Return the record with more in one account."""
        accounts = dict(self.days.get(day, {}))
        place = next(
            each for each in _places(owner) if each in accounts or len(accounts) < MOST_OWNERS or each == _LAST
        )
        accounts[place] = accounts.get(place, Account()) + more
        return replace(self, days={**self.days, day: accounts})

    def since(self, day: str) -> "Usage":
        """Return the record without the days before this one."""
        return replace(self, days={each: accounts for each, accounts in self.days.items() if each >= day})

    def written(self) -> str:
        """Return the record as an annotation has it."""
        days = {day: accounts_written(accounts) for day, accounts in self.days.items()}
        record = {"to": self.counted_to.isoformat(), "mib": self.need_mib, "days": days}
        return json.dumps(record, separators=(",", ":"))


def archive_key(day: str, lease_uid: str) -> str:
    """Return the key of a day in the archive; keys are ordered by their days."""
    return f"{day}.{lease_uid[:8]}"


def day_of(now: datetime) -> str:
    """Return the day of a time, in UTC."""
    return now.astimezone(UTC).date().isoformat()


def account_of(holder: str) -> str:
    """Return the account of a `holderIdentity`; the resident's if it names no job."""
    key = JobKey.from_holder(holder)
    return RESIDENT if key is None else f"{key.kind}/{key.namespace}/{key.name}"


def usage_of(annotation: str) -> Usage | None:
    """Read a record; None if there is none, or it cannot be read: a new one begins."""
    raw = read_object(annotation) if annotation else None
    to = moment(raw.get("to")) if raw is not None else None
    if raw is None or to is None:
        return None
    days = {day: accounts_of(accounts) for day, accounts in mapping(raw.get("days")).items()}
    return Usage(parse_time(to).astimezone(UTC), whole(raw.get("mib")) or 0, days)


def accounts_written(accounts: Day) -> dict[str, list[float]]:
    """Return the accounts of one day as JSON has them."""
    names = [each.name for each in fields(Account)]
    return {owner: [round(getattr(account, name), 3) for name in names] for owner, account in accounts.items()}


def accounts_of(raw: Any) -> dict[str, Account]:
    """Read the accounts of one day; what cannot be read is left out."""
    read = {text(owner, 512): _account(values) for owner, values in mapping(raw).items()}
    return {owner: account for owner, account in read.items() if account is not None}


def _account(values: Any) -> Account | None:
    if not isinstance(values, list) or len(values) != len(fields(Account)):
        return None
    if not all(isinstance(each, int | float) and 0 <= each < _LARGEST for each in values):
        return None
    owned, reloading, trained, mib_seconds, turns, refused = values
    return Account(owned, reloading, trained, mib_seconds, int(turns), int(refused))


def _by_day(begin: datetime, end: datetime) -> Iterator[tuple[str, float]]:
    """Yield each day between two times in UTC, with its seconds."""
    while begin < end:
        midnight = datetime(begin.year, begin.month, begin.day, tzinfo=UTC) + timedelta(days=1)
        yield day_of(begin), (min(midnight, end) - begin).total_seconds()
        begin = midnight


_LAST = f"{_OTHERS}/{_OTHERS}/{_OTHERS}"


def _places(owner: str) -> tuple[str, ...]:
    """Return the accounts that may take what an owner has used, its own first."""
    kind, _, rest = owner.partition("/")
    namespace = rest.partition("/")[0]
    return (owner, f"{kind}/{namespace}/{_OTHERS}", _LAST) if namespace else (owner, _LAST)
