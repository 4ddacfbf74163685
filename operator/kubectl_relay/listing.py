"""The commands that list what there is: jobs, and GPUs."""

from gpu_relay.overview.jobs import jobs_of
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.views.gpu_report import gpu_report


def jobs(session: Session, form: str | None) -> None:
    """Show every job: its phase, why it is in it, its position in the queue, and its eta."""
    snapshot = session.reader.jobs_only(session.scope, widen=session.widen)
    found = jobs_of(snapshot)
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
