"""The commands about one owner of a GPU: why it waits, and what turns it has had."""

from datetime import timedelta

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import timeline_of
from kubectl_relay.exits import RelayError
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.views.explain import explain
from kubectl_relay.views.explain_workload import explain_workload
from kubectl_relay.views.named import ambiguity, read_name, workloads_named


def explain_job(session: Session, name: str, form: str | None) -> None:
    """Say why a job waits, and what would change it."""
    owner = _owner_named(session, name)
    snapshot = session.reader.snapshot(session.home, widen=True, events=True)
    if isinstance(owner, Job):
        _refuse_ambiguity(name, owner, snapshot)
        explanation = explain(snapshot, snapshot.job(owner.key) or owner)
    else:
        explanation = explain_workload(snapshot, snapshot.workload(owner.key) or owner)
    if form:
        say(dumped(explanation, form))
    else:
        show_explanation(output(), explanation, snapshot.now)


def timeline(session: Session, form: str | None, since: timedelta | None, name: str | None = None) -> None:
    """Show the history of each GPU; with `since`, only turns that ended within this time; with `name`, only a job's."""
    owner = _owner_named(session, name) if name else None
    snapshot = session.reader.snapshot(session.scope, widen=session.widen, events=True)
    if name and isinstance(owner, Job):
        _refuse_ambiguity(name, owner, snapshot)
    found = timeline_of(snapshot, snapshot.now - since if since else None, owner.key if owner else None)
    if form:
        say(dumped(found, form))
    else:
        show_timeline(output(), found)


def _owner_named(session: Session, name: str) -> Job | ListedWorkload:
    """Read the job or Workload that a name means; RelayError where there is none, or several Workloads have it."""
    named, reader = read_name(name), session.reader
    job = reader.find_job(session.home, named.name) if named.may_be_job else None
    if job is not None:
        return job
    found = workloads_named(named, session.home, reader.workloads(session.home))
    if len(found) > 1:
        raise RelayError(ambiguity(named.name, session.home, job=False, workloads=found))
    if not found:
        raise reader.missing(session.home, named.name)
    return found[0]


def _refuse_ambiguity(name: str, job: Job, snapshot: ClusterSnapshot) -> None:
    """Refuse the name of a job without its kind, if a Workload has this name, too."""
    named = read_name(name)
    others = [] if named.kind else workloads_named(named, job.key.namespace, snapshot.workloads)
    if others:
        raise RelayError(ambiguity(named.name, job.key.namespace, job=True, workloads=others))
