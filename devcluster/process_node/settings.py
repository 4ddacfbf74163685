"""Settings of a process node, given at its start."""

from dataclasses import dataclass
from pathlib import Path

#: Marks every process of a node in its environment, so that the node's next life finds what this one could not end.
MARK = "GPU_RELAY_PROCESS_NODE"
HOST_IP = "127.0.0.1"


@dataclass(frozen=True)
class NodeSettings:
    """One node. `gpus` is how many pods may share its GPU; `restart_delay` is the first back-off in seconds."""

    name: str
    run_dir: Path
    ledger: Path | None = None
    gpus: int = 2
    restart_delay: float = 10.0

    @property
    def pods(self) -> Path:
        """The folder with a folder for each pod."""
        return self.run_dir / "pods"

    @property
    def logs(self) -> Path:
        """The folder with all logs."""
        return self.run_dir / "logs"
