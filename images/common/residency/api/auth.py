"""Who may unload and load the model: every client, bearers of a file's token, or as token_reviews.py decides."""

import asyncio
import hmac
from pathlib import Path
from typing import Protocol


class UnauthorizedError(Exception):
    """No token, or one that is not valid."""


class ForbiddenError(Exception):
    """A valid token whose owner may not unload and load."""


class ControlUnavailableError(Exception):
    """Tokens cannot be checked at present."""


class Control(Protocol):
    """Decides on control calls."""

    async def check(self, token: str | None, client: str) -> None:
        """Pass for a caller that may unload and load; `client` is its address.

        Raises:
            UnauthorizedError: the token is missing or not valid.
            ForbiddenError: it is valid and its owner is not on the list.
            ControlUnavailableError: it could not be checked.

        """
        ...


class OpenControl:
    """Admits every client: for a machine of your own."""

    async def check(self, token: str | None, client: str) -> None:
        """Pass."""


class TokenFile:
    """Compares with the token in a file, which is read at each call, so it can be rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def check(self, token: str | None, client: str) -> None:
        """Pass for the file's token."""
        if token is None:
            raise UnauthorizedError("this call needs the header `Authorization: Bearer <token>`")
        try:
            expected = (await asyncio.to_thread(self._path.read_text)).strip()
        except OSError as error:
            raise ControlUnavailableError(f"the token file cannot be read: {error.strerror}") from error
        if not expected:
            raise ControlUnavailableError("the token file is empty")
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise UnauthorizedError("the token is not the one in this server's token file")
