"""Where the parts measure: a CUDA GPU with a full-size model, or a simulated GPU with the tiny model."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.sam3.processes import start_server
from devcluster.programs.sam3 import Server
from devcluster.programs.trainer import Attempt
from gpu_memory import Ledger

T4_FREE_MIB = 15_360 - 450
PASSED_ON = ("CUDA_VISIBLE_DEVICES", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")


@dataclass(frozen=True)
class Sizes:
    """How much the parts do. Memory in MiB, images in pixels."""

    server_mib: int
    """What the server may take."""
    training_mib: int
    """What a training needs that fits the GPU alone, and does not fit beside a loaded model."""
    grant_mib: int
    """What a training is granted whose memory is compared with it."""
    detector: str
    train_images: int
    image_size: int
    too_large_batch: int
    """A batch that needs more than `grant_mib`, also when Ultralytics halves it three times."""
    photograph: tuple[int, int]
    instances: int
    rounds: int
    requests: int


FULL = Sizes(
    server_mib=14_000,
    training_mib=T4_FREE_MIB - 1500,
    grant_mib=4096,
    detector="yolo26m.yaml",
    train_images=256,
    image_size=640,
    too_large_batch=128,
    photograph=(4000, 3000),
    instances=100,
    rounds=3,
    requests=16,
)
TINY = dataclasses.replace(
    FULL, detector="yolo26n.yaml", train_images=16, image_size=32, photograph=(400, 300), instances=10, rounds=1,
    requests=4,
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One device with models and data. A part gets it from the process that runs the parts, as a file."""

    kind: Literal["cuda", "simulated"]
    folder: Path
    model: Path
    sizes: Sizes
    ledger_folder: Path | None = None

    @property
    def ledger(self) -> Ledger | None:
        """The simulated GPU's ledger."""
        return Ledger(self.ledger_folder) if self.ledger_folder else None

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a process finds the device."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return passed | (self.ledger.environment if self.ledger else {})

    def log_of(self, part: str) -> Path:
        """Return the file that has what a part and its programs write to standard error."""
        return self.folder / f"{part}.log"

    @contextmanager
    def server(self, **settings: str) -> Iterator[Server]:
        """Run a SAM3 server for the length of a `with` block."""
        server = start_server(
            self.folder, self.model, self.sizes.server_mib, {**self.environment, **settings}, self.ledger
        )
        try:
            yield server
        finally:
            server.end()

    def train(self, name: str, batch: int | str, memory_mib: int, *options: str) -> Attempt:
        """Run one attempt of the trainer to its end. Attempts of the same `name` are those of one job."""
        data = self.folder / "digits"
        if not data.exists():
            from demo.digits import make_digits  # imports scikit-learn

            make_digits(data, train=self.sizes.train_images, val=4, image_size=max(64, self.sizes.image_size // 4))
        arguments = {"plots": False, "workers": 0}
        job = {
            "job": {"namespace": "bench", "name": name, "uid": name},
            "model": self.sizes.detector,
            "dataset": {"path": str(data)},
            "training": {"epochs": 1, "imageSize": self.sizes.image_size, "batch": batch, "args": arguments},
            "output": {"path": str(self.folder / name / "output")},
            "gpu": {"memoryMiB": memory_mib},
        }
        folder = self.folder / name / "attempt"
        attempt = Attempt(folder, job, *options, TMPDIR=str(self.folder), **self.environment)
        attempt.process.wait()
        return attempt

    def write(self, file: Path) -> None:
        """Write it for the process of a part."""
        file.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, file: Path) -> "Stage":
        """Read what `write` wrote."""
        written: dict[str, Any] = json.loads(file.read_text())
        sizes = {**written["sizes"], "photograph": tuple(written["sizes"]["photograph"])}
        ledger = written["ledger_folder"]
        places = {"folder": Path(written["folder"]), "model": Path(written["model"])}
        return cls(written["kind"], **places, sizes=Sizes(**sizes), ledger_folder=Path(ledger) if ledger else None)
