"""The settings of the operator that decisions depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Policy:
    """Settings that decisions depend on. Times are seconds, sizes MiB."""

    samples: int = 3
    sample_interval: float = 0.1
    margin_mib: int = 256
    hold_ttl: float = 60.0
    progress_interval: float = 2.0
    pod_start_timeout: float = 600.0
    start_failure_timeout: float = 60.0
    memory_return_timeout: float = 30.0
    backoff_base: float = 10.0
    backoff_cap: float = 360.0
    max_outage: float = 1800.0
    min_serve: float = 60.0
    idle_after: float = 30.0
    restart_resident_after: float = 0.0
    """Seconds after which the pod of a resident that does not unload is deleted; 0 disables this."""
    resident_grace: float = 60.0
    """Seconds for which the operator waits for a missing or silent resident, and after which there is none."""
    max_idle_outage: float = 120.0
    """Seconds for which a resident may stay unloaded without a live training pod; then it is loaded (law 9)."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    """The tolerations of every training pod, by the site's pod template."""
    preparations: int = 2
    """Jobs of one namespace that are prepared at the same time; 0: only jobs whose images must be labelled."""
    request_timeout: float = 30.0
    """Seconds after which a request without an answer is given up."""
    stuck_after: float = 60.0
    grace_period: float = 60.0
    """Seconds that a training pod has for its checkpoint after SIGTERM."""

    @property
    def preparation_slots(self) -> int:
        """Return how many jobs of a namespace are prepared at the same time: at least 1, for images without labels."""
        return max(1, self.preparations)
