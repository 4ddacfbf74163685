"""Law 8, from outside: how long the bystander's jobs wait while a GPU could train."""

import time
from dataclasses import dataclass, field

from tests.chaos.happenings import Happenings
from tests.chaos.intervals import Spans, minus, seconds, union

CONSTANT = 15.0
"""Seconds for a preparation, samples, the scheduler, the writes, on a machine that several scenarios share."""


@dataclass
class Waits:
    """The jobs of the bystander, and the GPUs that there were.

    The bound counts the time from a job's creation to its end, without the time in which

    - its own pod runs,
    - no GPU is free: each that exists has a running pod, or is unusable for reasons that are no operator's,
    - something concerns everyone (`Happenings`).

    Of the rest at most `CONSTANT` seconds may pass, and `turn` for each other job that has a turn: the time that a turn
    may take beside its training, `GPU_RELAY_MAX_IDLE_OUTAGE` + `GPU_RELAY_MEMORY_RETURN_TIMEOUT` +
    `GPU_RELAY_LOAD_TIMEOUT`. While a free GPU has no turn at all, at most `CONSTANT` seconds may pass.
    """

    happenings: Happenings
    turn: float
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    gpus: dict[str, float] = field(default_factory=dict)
    """GPUs that were there, and since when."""

    def verdict(
        self,
        running: dict[str, Spans],
        turns: dict[str, Spans],
        own: dict[str, Spans],
        gone: list[tuple[float, str]],
        others: int,
    ) -> list[str]:
        """Return what broke the law.

        `running` and `turns` by GPU: when pods ran, and when it was a job's or still to be given back. `own` by job:
        when its pods ran. `gone`: GPUs that ended, and when. `others`: how many other jobs had turns.
        """
        violations = []
        for what, taken, bound in (
            ("could train", running, CONSTANT + others * self.turn),
            ("no job had", _both(running, turns), CONSTANT),
        ):
            excused = [*self.happenings.everyone, *self._nothing_free(taken, gone)]
            for name in self.began:
                waited = self._waited(name, [*excused, *own.get(name, [])])
                if waited > bound:
                    violations.append(
                        f"law 8: {name} waited {waited:.1f} s for a GPU that {what}; "
                        f"the bound with {others} other jobs is {bound:.0f} s"
                    )
        return violations

    def _waited(self, name: str, excused: Spans) -> float:
        wait = (self.began[name], self.ended.get(name, time.monotonic()))
        return seconds(minus([wait], excused))

    def _nothing_free(self, taken: dict[str, Spans], gone: list[tuple[float, str]]) -> Spans:
        now = time.monotonic()
        ends = {gpu: when for when, gpu in gone}
        free: Spans = []
        for gpu, since in self.gpus.items():
            away = [*taken.get(gpu, []), *self.happenings.unusable.get(gpu, [])]
            free += minus([(since, ends.get(gpu, now))], away)
        return minus([(min(self.began.values(), default=now), now)], union(free))


def _both(first: dict[str, Spans], second: dict[str, Spans]) -> dict[str, Spans]:
    return {gpu: [*first.get(gpu, []), *second.get(gpu, [])] for gpu in {*first, *second}}
