"""The command that shows for how long GPUs were used."""

from datetime import timedelta

from gpu_relay.overview.usage import Group, usage_report
from kubectl_relay.effects.usage_reader import read_usage
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.usage import show_usage, usage_as_csv


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
