"""One kubelet node at a time: bridge, address range and iptables chains belong to the machine, not to a run."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from devcluster import runs
from devcluster.errors import ClusterError
from devcluster.progress import logger
from devcluster.runs import Run, State

# In /run, which all users of the machine share and a reboot empties.
HOLDER = Path("/run/gpu-relay-node.json")
_LOCK = Path("/run/gpu-relay-node.lock")
_POLL_SECONDS = 1.0


class Holder(BaseModel):
    """The folder of the run that has the node."""

    folder: Path


def acquire(run: Run, wait: float, clean: Callable[[Run], None]) -> None:
    """Take the machine's node for a run, waiting up to `wait` seconds while another process uses it.

    A stale holder is removed first, by `clean`, which must release the node.

    Raises ClusterError that names the holder; immediately if the holder does not end by itself.
    """
    deadline = time.monotonic() + wait
    logged = False
    while holder := _try_acquire(run):
        state = holder.state()
        if state is State.STALE:
            clean(holder)
            continue
        who = f"cluster {holder.name} ({holder.folder}, {state}" + (
            f", process {holder.owner.pid})" if holder.owner else ")"
        )
        if state is not State.IN_USE or time.monotonic() > deadline:
            raise ClusterError(
                f"this machine's one kubelet node belongs to {who}: end it with `python -m devcluster down --name "
                f"{holder.name}`, or choose NODE=process"
            )
        if not logged:
            logger.info("Waiting up to %.0f s for the machine's one kubelet node: it belongs to %s", wait, who)
            logged = True
        time.sleep(_POLL_SECONDS)


def release(run: Run) -> None:
    """Give the node back, where it is this run's."""
    with _locked():
        if (holder := _holder()) and holder.folder == run.folder:
            HOLDER.unlink(missing_ok=True)


def holds(run: Run) -> bool:
    """Say whether the node is this run's."""
    found = holder()
    return found is not None and found.folder == run.folder


def holder() -> Run | None:
    """Return the run that has the node now, None when it is free or its run's folder is gone."""
    with _locked():
        return _holder()


def _try_acquire(run: Run) -> Run | None:
    """Take the node and return None, or return its holder."""
    with _locked():
        if found := _holder():
            return found
        HOLDER.write_text(Holder(folder=run.folder).model_dump_json())
    return None


def _holder() -> Run | None:
    with contextlib.suppress(FileNotFoundError):
        return runs.load_from(Holder.model_validate_json(HOLDER.read_text()).folder)
    return None


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
