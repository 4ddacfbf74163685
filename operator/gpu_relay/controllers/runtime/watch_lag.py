"""How far the watches are behind what full lists have shown: the proof that they still tell of changes."""

from collections.abc import Mapping


class WatchLag:
    """Versions of objects by UID, as watches told them and as lists show them. `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._owed: dict[str, tuple[int, float]] = {}

    def observed(self, uid: str, version: str, *, deleted: bool) -> None:
        """A watch has told of a version of an object, or that it is gone."""
        number = _number(version)
        if deleted:
            self._told.pop(uid, None)
        else:
            self._told[uid] = max(number, self._told.get(uid, -1))
        if uid in self._owed and (deleted or self._owed[uid][0] <= number):
            del self._owed[uid]

    def known(self) -> frozenset[str]:
        """Return the UIDs of all objects that watches have told of."""
        return frozenset(self._told)

    def listed(self, versions: Mapping[str, str], known_before: frozenset[str], now: float) -> None:
        """A full list has shown these versions; `known_before` is what was `known` when it was asked for."""
        for uid in known_before - versions.keys():
            self._told.pop(uid, None)
        numbers = {uid: _number(version) for uid, version in versions.items()}
        self._owed = {
            uid: self._owed.get(uid, (number, now))
            for uid, number in numbers.items()
            if self._told.get(uid, -1) < number
        }

    def seconds(self, now: float) -> float:
        """Return for how long the watches have owed the oldest change that a list has shown; 0 when they owe none."""
        return max((now - since for _, since in self._owed.values()), default=0.0)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
