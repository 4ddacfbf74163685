"""The commands that only read: each reads a snapshot, computes a view and shows it."""

from datetime import timedelta

from gpu_relay.overview.jobs import jobs_of
from gpu_relay.overview.timeline import timeline_of
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.views.explain import explain
from kubectl_relay.views.gpu_report import gpu_report


def jobs(session: Session, form: str | None) -> None:
    """Show every job: its phase, why it is in it, its position in the queue, and its eta."""
    snapshot = session.reader.jobs_only(session.scope, widen=session.widen)
    found = jobs_of(snapshot.jobs)
    if form:
        say(dumped({"time": snapshot.now, "jobs": found, "unknown": snapshot.unknown}, form))
    else:
        show_jobs(output(), found, snapshot)


def gpus(session: Session, form: str | None) -> None:
    """Show the owner of each GPU, and the jobs that wait for it."""
    snapshot = session.reader.snapshot(session.scope, widen=session.widen, measure=True)
    if form:
        say(dumped(gpu_report(snapshot), form))
    else:
        console = output()
        console.print(gpu_cards(snapshot))


def explain_job(session: Session, name: str, form: str | None) -> None:
    """Say why a job waits, and what would change it."""
    job = session.reader.job(session.home, name)
    snapshot = session.reader.snapshot(session.home, widen=True, events=True)
    explanation = explain(snapshot, snapshot.job(job.key) or job)
    if form:
        say(dumped(explanation, form))
    else:
        show_explanation(output(), explanation, snapshot.now)


def timeline(session: Session, form: str | None, since: timedelta | None) -> None:
    """Show the history of each GPU; with `since`, only turns that ended within this time."""
    snapshot = session.reader.snapshot(session.scope, widen=session.widen, events=True)
    found = timeline_of(snapshot, snapshot.now - since if since else None)
    if form:
        say(dumped(found, form))
    else:
        show_timeline(output(), found)
