"""The commands that only read: each reads a snapshot, computes a view and shows it."""

from datetime import timedelta

from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.objects.listed_workload import ListedWorkload
from gpu_relay.overview.jobs import jobs_of
from gpu_relay.overview.snapshot import ClusterSnapshot
from gpu_relay.overview.timeline import timeline_of
from gpu_relay.overview.usage import Group, usage_report
from kubectl_relay.effects.usage_reader import read_usage
from kubectl_relay.exits import RelayError
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.gpus import gpu_cards
from kubectl_relay.show.jobs import show_jobs
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.show.usage import show_usage, usage_as_csv
from kubectl_relay.views.explain import explain
from kubectl_relay.views.explain_workload import explain_workload
from kubectl_relay.views.gpu_report import gpu_report
from kubectl_relay.views.named import ambiguity, read_name, workloads_named


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


def usage(session: Session, by: str, since: timedelta, price: float | None, form: str | None) -> None:
    """Show for how long each namespace, job, GPU or day has used the GPUs."""
    records, unknown = read_usage(session.cluster, session.reader.relay_namespace)
    report = usage_report(
        records,
        session.cluster.now,
        since=since,
        by=Group(by),
        namespace=session.namespace,
        price=price,
        unknown=unknown,
    )
    if form == "csv":
        say(usage_as_csv(report))
    elif form:
        say(dumped(report, form))
    else:
        show_usage(output(), report)


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
