"""The commands that change a job: suspend, resume, approve and cancel."""

import sys

import click

from gpu_relay.api.words import GROUP, KIND, TERMINAL_PHASES
from gpu_relay.clients.resources import JOBS
from gpu_relay.domain.job import review
from gpu_relay.domain.objects.job import Job
from kubectl_relay.exits import RelayError
from kubectl_relay.session import Session
from kubectl_relay.show.console import say
from kubectl_relay.views.losses import losses

_KIND = f"{KIND.lower()}.{GROUP}"


def set_suspend(session: Session, name: str, *, to: bool) -> None:
    """Suspend a job, or resume it."""
    job = session.reader.job(session.home, name)
    done = "suspended" if to else "resumed"
    if job.status.phase in TERMINAL_PHASES:
        raise RelayError(
            f"{job.key} has {str(job.status.phase).lower()} already: there is nothing that could be {done}"
        )
    if job.spec.suspend is to:
        say(f"{_KIND}/{name} is {'suspended' if to else 'not suspended'} already")
        return
    session.cluster.patch(JOBS, job.key.namespace, name, {"spec": {"suspend": to}})
    follows = "it stops at its next checkpoint" if to else "it waits for its turn, and resumes from its checkpoint"
    say(f"{_KIND}/{name} {done}: {follows}")


def approve(session: Session, name: str) -> None:
    """Approve the labels of a job that waits for it."""
    job = session.reader.job(session.home, name)
    if not review.is_required(job):
        raise RelayError(f"{job.key} has no labels to approve: it has no dataset.label.review: Required")
    if job.status.phase in TERMINAL_PHASES:
        raise RelayError(f"{job.key} has {str(job.status.phase).lower()} already: its labels need no approval")
    if review.is_approved(job):
        say(f"{_KIND}/{name} is approved already")
        return
    if not review.waits(job):
        raise RelayError(
            f"{job.key} has no labels to approve yet: `kubectl relay explain {name}` shows what it waits for. To train "
            "on them without a review, set spec.dataset.label.approved to true"
        )
    session.cluster.patch(JOBS, job.key.namespace, name, {"spec": {"dataset": {"label": {"approved": True}}}})
    say(f"{_KIND}/{name} approved: its labels are checked, and it waits for its turn")


def cancel(session: Session, name: str, *, yes: bool) -> None:
    """Delete a job, and ask before that unless `yes` is set."""
    job = session.reader.job(session.home, name)
    if not yes:
        _confirm(job)
    session.cluster.delete(JOBS, job.key.namespace, name, job.key.uid)
    say(f"{_KIND}/{name} deleted")


def _confirm(job: Job) -> None:
    """Ask whether a job may be deleted, and print what is lost."""
    if not sys.stdin.isatty():
        raise click.UsageError("cancel asks before it deletes, and there is no terminal to ask on: add --yes")
    for sentence in losses(job):
        say(sentence, err=True)
    if not click.confirm(f"Delete {job.key}?", err=True):
        raise RelayError("nothing was deleted")
