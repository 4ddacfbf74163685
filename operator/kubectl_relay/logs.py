"""The log of a job, as its pod writes it."""

import time

from gpu_relay.api.words import TRAINER_CONTAINER
from gpu_relay.clients.resources import PODS
from gpu_relay.domain.objects.job import Job
from gpu_relay.overview.log_source import LogSource
from kubectl_relay.effects.cluster import ApiError, ForbiddenError
from kubectl_relay.session import Session
from kubectl_relay.show.console import say
from kubectl_relay.views.log_source import log_source, not_started, pod_gone
from kubectl_relay.views.text import log_lines

_PAUSE = 2.0
_NOT_STARTED = 400
"""Status of a container without a log yet."""
_GONE = 404


def logs(session: Session, name: str, attempt: int | None, *, follow: bool) -> None:
    """Print the log of a job's pod; with `follow`, until its container ends."""
    job = session.reader.job(session.home, name)
    source = log_source(job, attempt)
    say(f"{job.key}: {source}", err=True)
    waits = False
    while (cause := _print_log(session, job, source, follow=follow)) is not None:
        if not follow:
            raise not_started(job, source, cause)
        if not waits:
            say(f"{source} has not started: waiting for it", err=True)
        waits = True
        time.sleep(_PAUSE)
        job = session.reader.job(job.key.namespace, name)
        source = log_source(job, attempt)  # another pod may have taken the place of one that did not start


def _print_log(session: Session, job: Job, source: LogSource, *, follow: bool) -> str | None:
    """Print a log to its end; return why there is none yet, and None where there was one."""
    namespace, printed = job.key.namespace, False
    try:
        for line in log_lines(session.cluster.log(namespace, source.pod, TRAINER_CONTAINER, follow=follow)):
            say(line)
            printed = True
        return None if printed else _no_node(session, namespace, source.pod)
    except ApiError as error:
        if error.status == _GONE:
            raise pod_gone(job, source, session.cluster.now) from error
        if error.status != _NOT_STARTED:
            raise
        return str(error).removesuffix(f" ({error.status})").rstrip(".")


def _no_node(session: Session, namespace: str, pod: str) -> str | None:
    """Return that a pod has no node yet, if it has none: the API server then answers with an empty log."""
    try:
        spec = session.cluster.get(PODS, namespace, pod).get("spec", {})
    except ForbiddenError:
        return None
    return None if spec.get("nodeName") else "it has not been assigned to a node"
