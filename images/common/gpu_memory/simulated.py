"""The simulated GPU: a ledger folder on which processes book memory.

    <ledger>/uuid  name  total_mib  reserved_mib     one line of text each
    <ledger>/lib/libnvidia-ml.so.1                   the simulated driver library (from simulated_nvml.c)
    <ledger>/lock                                    flock'ed exclusively while a booking is made
    <ledger>/bookings/<name>                         one line: MiB; counts while a process holds its flock (exclusive)

The kernel drops a lock with the last process that holds it, however that ends, so memory is free exactly when
processes end. A booking is locked before it gets its name, so that no reader sees one that is not held; readers probe
with a shared lock, so that no reader makes a dead booking look alive to another. Every file is open to every user:
containers on a node run under many UIDs.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import uuid as uuids
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpu_memory.nvml import SIMULATED_GPU, GpuUnavailable

LIBRARY = "libnvidia-ml.so.1"
SOURCE = Path(__file__).with_name("simulated_nvml.c")
COMPILER_FLAGS = (
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    f"-Wl,-soname,{LIBRARY}",
)


class SimulatedOutOfMemoryError(MemoryError):
    """More was booked than is free, in a process without PyTorch; with it, `torch.OutOfMemoryError` is raised."""


class Booking:
    """Memory held on a simulated GPU, until `close`, the end of a `with` block, or the end of the process.

    A forked child shares the booking (it counts once) and keeps it alive; only the process that made it gives it back.
    """

    def __init__(self, path: Path, descriptor: int, mib: int) -> None:
        self.path = path
        self.mib = mib
        self._descriptor: int | None = descriptor
        self._owner = os.getpid()

    def __enter__(self) -> "Booking":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if os.getpid() == self._owner:
            self.path.unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class Ledger:
    """A simulated GPU's folder. Sizes in MiB.

    Raises:
        GpuUnavailable: the folder is no ledger.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.uuid, self.name = self._line("uuid"), self._line("name")
            self.total_mib, self.reserved_mib = int(self._line("total_mib")), int(self._line("reserved_mib"))
        except (OSError, ValueError) as error:
            raise GpuUnavailable(
                f"{self.path} holds no simulated GPU ({error}): point {SIMULATED_GPU} at one, "
                f"or make it with `python -m gpu_memory create-ledger {self.path}`"
            ) from error

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process see this GPU."""
        return {SIMULATED_GPU: str(self.path), "LD_LIBRARY_PATH": str(self.path / "lib")}

    @property
    def used_mib(self) -> int:
        """The sum of the bookings that some process holds."""
        return sum(_held_mib(path) or 0 for path in self._bookings.iterdir() if not path.name.startswith("."))

    @property
    def free_mib(self) -> int:
        """What can be booked."""
        return max(0, self.total_mib - self.reserved_mib - self.used_mib)

    def book(self, mib: int) -> Booking:
        """Take memory.

        Raises:
            torch.OutOfMemoryError: more than is free (`SimulatedOutOfMemoryError` where PyTorch is not installed).
            ValueError: a negative size.

        """
        if mib < 0:
            raise ValueError(f"cannot book {mib} MiB: a size is not negative")
        with self._locked():
            self._sweep()
            free = self.free_mib
            if mib > free:
                raise _out_of_memory(mib, self.total_mib, free)
            return self._enter(mib)

    def _enter(self, mib: int) -> Booking:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        draft, path = self._bookings / f".{name}", self._bookings / name
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            os.fchmod(descriptor, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, f"{mib}\n".encode())
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return Booking(path, descriptor, mib)

    def _sweep(self) -> None:
        """Remove what dead processes left: only under the ledger's lock, where no booking is half made."""
        for path in self._bookings.iterdir():
            if _held_mib(path) is None:
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path / "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # unlocked by name: a child forked meanwhile by another thread would keep a lock that is merely closed here
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    @property
    def _bookings(self) -> Path:
        return self.path / "bookings"

    def _line(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8").strip()


def create_ledger(
    path: str | os.PathLike[str],
    uuid: str | None = None,
    name: str = "Tesla T4",
    total_mib: int = 15360,
    reserved_mib: int = 450,
) -> Ledger:
    """Make the folder of a simulated GPU, and compile its driver library with the machine's C compiler.

    Repeating it renews the description and the library; bookings stay, and so does the UUID where none is given.

    Raises:
        ValueError: sizes that make no sense.
        GpuUnavailable: there is no C compiler.
        subprocess.CalledProcessError: the compiler failed; its words are on standard error.

    """
    if not 0 <= reserved_mib < total_mib:
        raise ValueError(f"a GPU of {total_mib} MiB cannot reserve {reserved_mib} MiB")
    folder = Path(path).absolute()
    for part in (folder, folder / "bookings", folder / "lib"):
        part.mkdir(parents=True, exist_ok=True)
        part.chmod(0o777)
    if uuid is None:
        known = folder / "uuid"
        uuid = known.read_text(encoding="utf-8").strip() if known.exists() else f"GPU-{uuids.uuid4()}"
    description = {"name": name, "total_mib": total_mib, "reserved_mib": reserved_mib, "uuid": uuid}
    for key, value in description.items():
        _publish(folder / key, f"{value}\n")
    (folder / "lock").touch()
    (folder / "lock").chmod(0o666)
    _compile(folder / "lib" / LIBRARY)
    return Ledger(folder)


def _publish(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o666)
    draft.replace(path)


def _compile(target: Path) -> None:
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))), None)
    if compiler is None:
        raise GpuUnavailable("a simulated GPU needs a C compiler once, for its driver library: install gcc, or set CC")
    draft = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    subprocess.run([compiler, *COMPILER_FLAGS, "-o", str(draft), str(SOURCE)], check=True)
    draft.chmod(0o755)
    draft.replace(target)  # never in place: a running process may have the old library mapped


def _held_mib(path: Path) -> int | None:
    """What a booking holds, in MiB, or None when no process holds it (or it has just been given back)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32) or 0)  # empty: a booking in the making
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return None
    finally:
        os.close(descriptor)


def _out_of_memory(mib: int, total_mib: int, free_mib: int) -> Exception:
    message = (
        f"CUDA out of memory. Tried to allocate {mib / 1024:.2f} GiB. GPU 0 has a total capacity of "
        f"{total_mib / 1024:.2f} GiB of which {free_mib / 1024:.2f} GiB is free "
        f"(simulated GPU: {mib} MiB wanted, {free_mib} MiB free)."
    )
    try:
        import torch
    except ImportError:
        return SimulatedOutOfMemoryError(message)
    return torch.OutOfMemoryError(message)
