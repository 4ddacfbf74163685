"""Modules that are imported when something uses them: a command must not wait for what it never calls.

`import kubernetes.aio` imports the synchronous half of the library, too, with hundreds of modules
(https://github.com/kubernetes-client/python/issues/771). Only its asynchronous half is used here.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_SYNCHRONOUS = ("client", "config", "dynamic", "informer", "leaderelection", "stream", "utils", "watch")
_ASYNCHRONOUS = ("dynamic", "leaderelection", "stream", "utils", "watch")
UNUSED = frozenset(
    {*(f"kubernetes.{name}" for name in _SYNCHRONOUS), *(f"kubernetes.aio.{name}" for name in _ASYNCHRONOUS)}
)


class DeferredImports(MetaPathFinder):
    """Finds these modules, and has each of them loaded at the first use of one of its names."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a deferred module; None for any other."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def defer_unused() -> None:
    """Defer what the plugin does not use, if it has not been imported yet."""
    if "kubernetes" not in sys.modules:
        sys.meta_path.insert(0, DeferredImports(UNUSED))
