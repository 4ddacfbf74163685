"""A worker as the residency sees it; `process.py` is the real one."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sam3_server.worker.protocol import Attached, Prepared, Query, Segmented
from sam3_server.worker.rgb_image import RgbImage


class Worker(Protocol):
    """One worker process. Calls are served one at a time, clients in rotation; times in seconds, sizes in MiB.

    `allocated_mib` is the GPU memory that it reported last; `weights_mib` the weights that were resident in host memory
    once it was prepared; `end` describes how the process ended, once it has.

    Every call raises `WorkerGoneError` when the process ends or does not answer in time (it is then killed), and
    `LoadError`, `InferenceError`, `PromptError`, `UnknownImageError`, `NoTrackerError` or `TooMuchWorkError` when it
    reports one.
    """

    allocated_mib: int
    weights_mib: int

    @property
    def end(self) -> str:
        """How the process ended."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        ...

    async def prepare(self, timeout: float) -> Prepared:
        """Import what inference needs and read the weights into host memory."""
        ...

    async def attach(self, timeout: float) -> Attached:
        """Take the GPU memory, move the model there, and check that it answers."""
        ...

    async def segment(
        self,
        image: RgbImage,
        query: Query,
        client: str,
        seconds: float,
        timeout: float,
        computed: Callable[[], None],
    ) -> Segmented:
        """Find every instance of each prompt's concept; cancelled after `seconds`, or with the caller.

        `computed` is called when the worker is free for the next image, while the answer is still being written.
        """
        ...

    async def stop(self, grace: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace`. Returns when it is gone.

        Raises:
            EngineStuckError: the process outlived SIGKILL.

        """
        ...


Launch = Callable[[Callable[[Worker], None]], Awaitable[Worker]]
"""Start a worker process; the argument is called once when the process has ended. Raises OSError."""
