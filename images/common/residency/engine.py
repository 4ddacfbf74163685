"""What the kit needs of a server: its engine, which has the model, and what it keeps ready for the next load."""

from collections.abc import Callable
from typing import Protocol


class Engine(Protocol):
    """Takes the GPU with its model, and lets go of it. The coordinator runs one call at a time."""

    @property
    def is_attached(self) -> bool:
        """Whether it has the GPU, or may have it after a call that failed."""
        ...

    @property
    def allocated_mib(self) -> int:
        """GPU memory in MiB that it holds, as far as it knows; 0 while it is not attached."""
        ...

    @property
    def residual_mib(self) -> int:
        """GPU memory in MiB that it kept after the last unload; 0 for one that ends its process."""
        ...

    async def has_loaded(self) -> bool:
        """Whether it has loaded its model without having been asked; called twice a second while it is unloaded."""
        ...

    def watch(self, on_exit: Callable[[str], None]) -> None:
        """Call a function when an attached engine has ended, asked to or not: with what ended, and how."""
        ...

    async def prepare(self) -> None:
        """End what an aborted load may have left, and do what a load needs and takes no GPU memory.

        Raises:
            ServiceError: it cannot be loaded; EngineStuckError if what is left has the GPU.

        """
        ...

    async def attach(self) -> None:
        """Take the GPU and load the model; return when it has answered a probe.

        Raises:
            NotEnoughMemoryError: less was free than it needs.
            ServiceError: the load failed for another reason, and nothing has the GPU.

        """
        ...

    async def end_attached(self, grace: float | None = None) -> None:
        """Let go of the GPU: at once with `grace` 0, and by default with the engine's own patience, in seconds.

        Raises:
            EngineStuckError: it may still have GPU memory.

        """
        ...


class Standby(Protocol):
    """What a server keeps in host memory while its model is unloaded, so that the next load takes less time."""

    async def start(self) -> None:
        """The model has been unloaded, and will be needed again."""
        ...

    async def reconcile(self) -> None:
        """The GPU is lent out and the model is unloaded; called twice a second."""
        ...

    async def end_turn(self) -> None:
        """The GPU is not lent out; called twice a second."""
        ...

    async def drop(self) -> None:
        """The model has been unloaded by hand, and may not be needed again."""
        ...

    async def close(self) -> None:
        """End what answers in place of the model; the server is about to end."""
        ...
