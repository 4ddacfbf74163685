"""The return of a GPU's Lease at the end of a turn: the rules that jobs and Workloads share."""

from gpu_relay.api.words import NEVER_STARTED_REASONS
from gpu_relay.domain.decision import ReturnLease
from gpu_relay.domain.objects.usage import Account
from gpu_relay.domain.quantities import parse_time
from gpu_relay.domain.turn_view import TurnView

RETURN_POLL = 0.5
"""Seconds between two complete reconciles while the driver has not released the last trainer's memory yet."""


def return_lease(view: TurnView, unused_since: str | None = None) -> ReturnLease:
    """Return the action that gives the GPU back.

    `unused_since` is since when no pod of this turn has been live; None if it had none.
    """
    report = view.report
    serves = report is not None and report.model_loaded and report.hold is None
    unloaded = view.managed and not serves
    return ReturnLease(
        reload_pending=view.managed,
        resident_unloaded=unloaded,
        unused_since=(unused_since or view.lease.unused_since) if unloaded else None,
        used=_used_by_turn(view),
    )


def _used_by_turn(view: TurnView) -> Account:
    """Return what a turn has used besides its time; of a job, the attempt must be in the view."""
    report, attempt = view.report, view.attempt
    trained = view.ran_for
    if attempt is not None and attempt.start_time is not None:
        trained = (parse_time(attempt.completion_time) - parse_time(attempt.start_time)).total_seconds()
    refused = report.refused if report is not None and view.held else 0
    return Account(trained=max(0.0, trained), refused=refused)


def trained_until(view: TurnView) -> str | None:
    """Return when the attempt of this turn ended; None without one, or if its pod never ran."""
    return view.attempt.completion_time if view.attempt is not None and has_trained(view) else None


def has_trained(view: TurnView) -> bool:
    """True if the attempt of this turn is recorded, and its pod has run."""
    return view.attempt is not None and view.attempt.reason not in NEVER_STARTED_REASONS


def memory_is_back(view: TurnView) -> bool:
    """True if as much memory is measured free as before the pod of this turn, within the margin."""
    report, before = view.report, view.proven_mib
    if not view.managed or (report is not None and report.model_loaded):
        return True
    if before is None:  # no pod of this turn has used the GPU, as far as is known
        return report is not None or not view.is_workloads
    return report is not None and report.free_mib >= before - view.policy.margin_mib
