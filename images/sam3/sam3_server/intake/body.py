"""A request's body on its way from the connection to an intake process."""

import os
from collections.abc import Callable

from sam3_server import memory_files


class Body:
    """A request's body in a file in memory, which is freed when it is closed, at the latest after a `with` block."""

    def __init__(self, content_type: str, release: Callable[[], None]) -> None:
        self.content_type = content_type
        self.descriptor = memory_files.create("sam3-body")
        self._release: Callable[[], None] | None = release

    def exchange(self, descriptor: int) -> None:
        """Replace the file by another one of this size, or close the other one if this body is closed already."""
        if self._release is None:
            os.close(descriptor)
            return
        os.close(self.descriptor)
        self.descriptor = descriptor

    def close(self) -> None:
        """Free the memory, unless it is free already."""
        if self._release is not None:
            os.close(self.descriptor)
            self._release()
            self._release = None

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
