"""Work in a thread of its own, from the beginning of a `with` block to its end."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Runs `_run` in a thread; what is left of it when the block ends is waited for."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the thread to end, and wait for it."""
        self._over.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until `_over` is set."""
