"""The standby of a server that keeps nothing ready."""


class NoStandby:
    """Keeps nothing: each load starts from the beginning."""

    async def start(self) -> None:
        """Do nothing."""

    async def reconcile(self) -> None:
        """Do nothing."""

    async def end_turn(self) -> None:
        """Do nothing."""

    async def drop(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
