"""The hold in a file, for a server that is restarted during a turn.

Free memory alone is no sign: a training job that has just started has allocated none yet. The file holds the renew key,
so only its owner may read it.
"""

import logging
from pathlib import Path

from pydantic import BaseModel, ValidationError

from residency.hold import Claim, Hold, HoldBook, Terms

log = logging.getLogger(__name__)


class _Kept(BaseModel):
    """What is written. Times are the wall clock's, for a restarted server has another monotonic one."""

    newest: Claim
    terms: Terms | None = None
    placed_at: float = 0.0
    expires_at: float = 0.0


class HoldFile:
    """Writes a book of holds to a file, and reads it back. Without a path it does neither."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, book: HoldBook, now: float, wall: float) -> None:
        """Write the newest turn, and the hold in force; `now` is the holds' clock and `wall` the wall's, in seconds.

        A failed write is logged; it is no reason to refuse a hold.
        """
        if self._path is None or book.newest is None:
            return
        kept = _Kept(newest=book.newest)
        hold = book.active(now)
        if hold is not None:
            kept.terms = hold.terms
            kept.placed_at, kept.expires_at = (moment - now + wall for moment in (hold.placed_at, hold.expires_at))
        draft = self._path.with_name(f".{self._path.name}")
        try:
            draft.touch(mode=0o600)
            draft.write_text(kept.model_dump_json(), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning(
                "the hold could not be written to %s, so a restarted server will not know of it: %s", self._path, error
            )

    def read(self, book: HoldBook, now: float, wall: float) -> None:
        """Restore the book from the file. A file that cannot be read counts as none."""
        if self._path is None:
            return
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, so no earlier hold is known: %s", self._path, type(error).__name__)
            return
        hold = None
        if kept.terms is not None:
            left = min(kept.expires_at - wall, kept.terms.ttl_seconds)  # a clock set back must not prolong it
            hold = Hold(kept.terms, now - max(0.0, wall - kept.placed_at), now + left)
        book.restore(kept.newest, hold)
        if book.active(now) is not None:
            log.info("hold restored", extra=vars(kept.newest))
