"""Samples of free memory: a row begins at once, and its measurements lie apart."""

from gpu_relay.domain.model import GpuLease, GpuReport
from gpu_relay.engine.memory import Memory

_LEASE = GpuLease("gpu-1", "1", "gpu-1", "holder", 7, None, "", "node-1", "")


def report(*, loaded: bool) -> GpuReport:
    used = 14_000 if loaded else 0
    state = "loaded" if loaded else "unloaded"
    return GpuReport("GPU-1", "T4", 15_360, 450, used, 14_910 - used, 14_000, loaded, state, None)


def test_the_first_sample_under_the_hold_need_not_wait_for_one_before_it() -> None:
    memory = Memory(_LEASE)
    memory.take_sample(report(loaded=True), held=False, keep=3, apart=60)
    memory.take_sample(report(loaded=False), held=True, keep=3, apart=60)
    assert memory.samples == [14_910]


def test_samples_of_a_row_lie_apart() -> None:
    memory = Memory(_LEASE)
    for _ in range(3):
        memory.take_sample(report(loaded=False), held=True, keep=3, apart=60)
    assert memory.samples == [14_910]
    memory.sampled_at -= 61
    memory.take_sample(report(loaded=False), held=True, keep=3, apart=60)
    assert memory.samples == [14_910, 14_910]
    assert not memory.lacks_samples(3), "the last one comes with a look at everything"
