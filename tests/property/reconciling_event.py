"""Rules of the model of a Workload's turn after which the operator reconciles."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import rule

if TYPE_CHECKING:
    from tests.property.workload_simulation import SimulatedWorkload


def event(**given: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a rule after which the operator reconciles a few times, or not at all."""

    def with_reconciles(method: Callable[..., None]) -> Callable[..., None]:
        def happens(self: "SimulatedWorkload", times: int, **drawn: Any) -> None:
            method(self, **drawn)
            for _ in range(times):
                self.dispatch_if_free()
                self.reconcile()

        happens.__name__ = method.__name__
        as_rule: Any = rule(times=st.sampled_from([0, 0, 1, 2, 5]), **given)
        return cast("Callable[..., None]", as_rule(happens))

    return with_reconciles
