"""How long to wait after failures."""

from gpu_relay.domain.model import Policy


def delay_after(failures: int, policy: Policy) -> float:
    """Return the pause in seconds: the base after the first failure, doubled with each further one, up to the cap."""
    return float(min(policy.backoff_cap, policy.backoff_base * 2 ** min(32, max(0, failures - 1))))
