"""What befell a scenario, and when: what excuses a delay or an outage, and what could be known beforehand."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.intervals import Spans


@dataclass(frozen=True)
class KnownCause:
    """A reason, there to be seen before any outage, why no training of a namespace, or on a GPU, can start."""

    name: str
    began: float
    ended: float
    namespace: str = ""
    gpu: str = ""
    """Exactly one of both is given."""


@dataclass
class Happenings:
    """All of one run. Moments are those of the monotonic clock, in seconds."""

    everyone: Spans = field(default_factory=list)
    """When an event affected all jobs: the operator was down, or a call was lost."""
    unusable: dict[str, Spans] = field(default_factory=dict)
    """When a GPU could take no training, for reasons that are no operator's."""
    silent: dict[str, Spans] = field(default_factory=dict)
    """When a GPU's resident could not be asked for anything."""
    began: dict[str, float] = field(default_factory=dict)
    """When the newest event of a GPU began."""
    known: list[KnownCause] = field(default_factory=list)
    unjudged: set[str] = field(default_factory=set)
    """Names of jobs to which no law promises an end."""
    unreadable: dict[tuple[str, str], float] = field(default_factory=dict)
    """Namespace and name of jobs that cannot be read now, and since when."""
    events: list[str] = field(default_factory=list)
    """Names of the events that took place."""

    @contextlib.contextmanager
    def concerns_everyone(self, after: float = 0.0) -> Iterator[None]:
        """Excuse all delays and outages from now until `after` seconds past the end of the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.everyone.append((began, time.monotonic() + after))

    @contextlib.contextmanager
    def concerns_gpu(self, gpu: str, *, known: str = "", silent: bool = False, after: float = 0.0) -> Iterator[None]:
        """Make a GPU unusable in the block and `after` seconds past it.

        `known` is a cause that can be seen beforehand; `silent` says that its resident cannot be asked meanwhile.
        """
        began = self.began[gpu] = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            for spans in (self.unusable, self.silent) if silent else (self.unusable,):
                spans.setdefault(gpu, []).append((began, ended + after))
            if known:
                self.known.append(KnownCause(known, began, ended, gpu=gpu))

    @contextlib.contextmanager
    def concerns_tenant(self, namespace: str, known: str) -> Iterator[None]:
        """Let no training of a namespace start in the block, for a cause that can be seen beforehand."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.known.append(KnownCause(known, began, time.monotonic(), namespace=namespace))
