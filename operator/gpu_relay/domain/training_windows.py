"""The training windows of a resident: the times of the week at which jobs may have its GPU.

They are an annotation on the resident's pod, such as `Mon-Fri 19:00-07:00 Europe/Berlin; Sat-Sun`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gpu_relay.api.words import ANNOTATION_TRAINING_WINDOWS
from gpu_relay.domain.objects.resident import Resident

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIMES = re.compile(r"(\d{2}):(\d{2})-(\d{2}):(\d{2})")
_LONGEST = 512
_WEEK = 8
"""Days from today in which each window that is ever open opens once."""
_EXAMPLE = "write for example 'Mon-Fri 19:00-07:00 Europe/Berlin; Sat-Sun'"


@dataclass(frozen=True)
class Window:
    """A time of day on some days of the week; from its end time on the next day if that is not after its start."""

    days: frozenset[int]
    """0 is Monday."""
    start: time = time()
    end: time = time()
    """The same as `start` for a whole day."""


@dataclass(frozen=True)
class TrainingWindows:
    """When jobs may have a GPU."""

    windows: tuple[Window, ...]
    zone: tzinfo

    def closes(self, now: datetime) -> datetime | None:
        """Return when the window that is open now closes, with those that follow it immediately; None if none is."""
        end, spans = now, sorted(self._spans(now))
        for start, stop in spans:
            if start <= end < stop:
                end = stop
        return end if end > now else None

    def opens(self, now: datetime) -> datetime | None:
        """Return when the next window opens after now; None if none ever does."""
        return min((start for start, stop in self._spans(now) if start > now and stop > start), default=None)

    def local(self, moment: datetime) -> str:
        """Return a time as people at the place of the windows write it."""
        return f"{moment.astimezone(self.zone):%a %Y-%m-%d %H:%M} {self.zone}"

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the windows from yesterday on. One that lies in the hour that daylight saving time skips is empty."""
        today = now.astimezone(self.zone).date()
        for number in range(-1, _WEEK):
            day = today + timedelta(days=number)
            for window in self.windows:
                if day.weekday() in window.days:
                    next_day = window.end <= window.start
                    stop = self._at(day + timedelta(days=next_day), window.end, fold=1)
                    yield self._at(day, window.start, fold=0), stop

    def _at(self, day: date, moment: time, *, fold: int) -> datetime:
        """Return a local time: of an hour that daylight saving time repeats, the first or the second (`fold`)."""
        return datetime.combine(day, moment, self.zone).replace(fold=fold).astimezone(UTC)


def closed_reason(resident: Resident, now: datetime) -> str:
    """Return why a resident does not lend its GPU at this time; empty if it does.

    With an annotation that cannot be read it lends nothing: what the administrator wanted is unknown.
    """
    try:
        windows = _windows_of(resident)
    except ValueError as error:
        return f"the annotation {ANNOTATION_TRAINING_WINDOWS} of resident {resident} cannot be read: {error}"
    if windows is None or windows.closes(now) is not None:
        return ""
    opens = windows.opens(now)
    when = f"the next one begins {windows.local(opens)}" if opens is not None else "none ever begins"
    return f"resident {resident} lends its GPU in its training windows; {when}"


def has_closed(resident: Resident, now: datetime) -> bool:
    """True if a resident has training windows and none is open; an annotation that cannot be read stops no training."""
    try:
        windows = _windows_of(resident)
    except ValueError:
        return False
    return windows is not None and windows.closes(now) is None


def _windows_of(resident: Resident) -> TrainingWindows | None:
    text = resident.annotations.get(ANNOTATION_TRAINING_WINDOWS)
    return None if text is None else training_windows(text)


@lru_cache(maxsize=256)
def training_windows(text: str) -> TrainingWindows:
    """Read training windows. Raises ValueError with a sentence that says what to write.

    Parts are separated by `;`. Each has days (`Mon`, `Mon-Fri`, `Sat,Sun`), times of a day (`19:00-07:00`), or both. A
    time zone, which any part may name, is that of all; without one, it is UTC.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} characters, and may have at most {_LONGEST}")
    windows, zones = [], set()
    for part in text.split(";"):
        window, zone = _part(part)
        windows.append(window)
        zones |= {zone} - {""}
    if len(zones) > 1:
        raise ValueError(f"it names the time zones {' and '.join(sorted(zones))}: write one")
    return TrainingWindows(tuple(windows), _zone(zones.pop()) if zones else UTC)


def _part(text: str) -> tuple[Window, str]:
    days: frozenset[int] | None = None
    times, zone = (time(), time()), ""
    seen: set[str] = set()
    for word in text.split():
        if word[0].isdigit():
            kind, times = "times", _times(word)
        elif (found := _days(word)) is not None:
            kind, days = "days", found
        else:
            kind, zone = "a time zone", word
        if kind in seen:
            raise ValueError(f"{text.strip()!r} has {kind} twice: separate parts by ';', {_EXAMPLE}")
        seen.add(kind)
    if not seen - {"a time zone"}:
        raise ValueError(f"{text.strip()!r} has neither days nor times: {_EXAMPLE}")
    return Window(days if days is not None else frozenset(range(len(_DAYS))), *times), zone


def _days(word: str) -> frozenset[int] | None:
    """Return the days of a word; None if it is none: then it is a time zone."""
    found: set[int] = set()
    for each in word.split(","):
        first, _, last = each.partition("-")
        if first not in _DAYS or (last and last not in _DAYS):
            return None
        begin = _DAYS.index(first)
        count = (_DAYS.index(last) - begin) % len(_DAYS) + 1 if last else 1
        found |= {(begin + number) % len(_DAYS) for number in range(count)}
    return frozenset(found)


def _times(word: str) -> tuple[time, time]:
    found = _TIMES.fullmatch(word)
    hours = [int(each) for each in found.groups()] if found is not None else []
    if not hours or hours[0] > 23 or hours[1] > 59 or hours[2] > 24 or hours[3] > 59 or (hours[2] == 24 and hours[3]):
        raise ValueError(f"{word!r} is no time of a day from 00:00 to 24:00: {_EXAMPLE}")
    return time(hours[0], hours[1]), time(hours[2] % 24, hours[3])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is neither days, such as Mon-Fri, nor a known time zone: {_EXAMPLE}") from None
