"""How far the watches lag behind full lists: the proof that they still deliver changes."""

from collections.abc import Mapping


class WatchLag:
    """Versions of objects by UID, as watches and lists show them. `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._observed: dict[str, int] = {}
        self._missing: dict[str, tuple[int, float]] = {}

    def observed(self, uid: str, version: str, *, deleted: bool) -> None:
        """Record a version of an object, or its deletion, from a watch."""
        number = _number(version)
        if deleted:
            self._observed.pop(uid, None)
        else:
            self._observed[uid] = max(number, self._observed.get(uid, -1))
        if uid in self._missing and (deleted or self._missing[uid][0] <= number):
            del self._missing[uid]

    def known(self) -> frozenset[str]:
        """Return the UIDs of all objects that watches have shown."""
        return frozenset(self._observed)

    def listed(self, versions: Mapping[str, str], known_before: frozenset[str], now: float) -> None:
        """Record the versions of a full list; `known_before` is what was `known` when it was requested."""
        for uid in known_before - versions.keys():
            self._observed.pop(uid, None)
        numbers = {uid: _number(version) for uid, version in versions.items()}
        self._missing = {
            uid: self._missing.get(uid, (number, now))
            for uid, number in numbers.items()
            if self._observed.get(uid, -1) < number
        }

    def seconds(self, now: float) -> float:
        """Return for how many seconds the watches have missed the oldest change of a list; 0 if they miss none."""
        return max((now - since for _, since in self._missing.values()), default=0.0)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
