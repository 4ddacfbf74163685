"""The commands: each reads a snapshot, computes a view and shows it."""

import sys
from datetime import timedelta

import click

from gpu_relay.api.words import GROUP, KIND, TERMINAL_PHASES
from gpu_relay.clients.resources import JOBS
from gpu_relay.domain.objects.job import Job
from gpu_relay.domain.quantities import duration
from gpu_relay.overview.gpus import gpus_of, stranded
from gpu_relay.overview.timeline import timeline_of
from kubectl_relay import options
from kubectl_relay.exits import Exit, RelayError
from kubectl_relay.options import completing_jobs, session_of
from kubectl_relay.session import Session
from kubectl_relay.show.console import output, say
from kubectl_relay.show.data import dumped
from kubectl_relay.show.explanation import show_explanation
from kubectl_relay.show.gpus import show_gpus
from kubectl_relay.show.timeline import show_timeline
from kubectl_relay.views.explain import explain
from kubectl_relay.views.losses import losses
from kubectl_relay.watching import follow

_KIND = f"{KIND.lower()}.{GROUP}"
_HELP = {"help_option_names": ["-h", "--help"]}


def _unfinished(job: Job) -> bool:
    return job.status.phase not in TERMINAL_PHASES


class _Duration(click.ParamType[timedelta]):
    """A length of time such as `90s` or `6h`."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a duration; the usage error shows how to write one."""
        if isinstance(value, timedelta):
            return value
        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(context_settings=_HELP)
@options.where
@options.everywhere
def cli(**_: object) -> None:
    """GPUs that residents and training jobs share: which job owns them, why a job waits, how it trains.

    Exit codes: 0 done; 1 an error; 2 a usage error; 3 no such job; 4 a right is missing; 5 GPU Relay is not
    installed; 10 to 13, of `watch`: the job has failed, was deleted, is suspended, has not ended in time.
    """


@cli.command()
@options.where
@options.everywhere
@options.form
@click.pass_context
def gpus(ctx: click.Context, /, form: str | None, **_: object) -> None:
    """Show the owner of each GPU, and the jobs that wait for it."""
    session = session_of(ctx)
    snapshot = session.reader.snapshot(session.scope, widen=session.widen, measure=True)
    found = gpus_of(snapshot)
    if form:
        say(
            dumped(
                {
                    "time": snapshot.now,
                    "gpus": found,
                    "noGpuSuits": stranded(snapshot.jobs),
                    "unknown": snapshot.unknown,
                },
                form,
            )
        )
    else:
        show_gpus(output(), found, snapshot)


@cli.command("explain")
@options.where
@options.form
@click.argument("job", shell_complete=completing_jobs(lambda _: True))
@click.pass_context
def explain_job(ctx: click.Context, /, job: str, form: str | None, **_: object) -> None:
    """Say why JOB waits, and what would change it."""
    session = session_of(ctx)
    mine = session.reader.job(session.home, job)
    snapshot = session.reader.snapshot(session.home, widen=True, events=True)
    explanation = explain(snapshot, snapshot.job(mine.key) or mine)
    if form:
        say(dumped(explanation, form))
    else:
        show_explanation(output(), explanation, snapshot.now)


@cli.command()
@options.where
@click.option("-o", "--output", "form", type=click.Choice(["json"]), help="Output format: JSON, an object a line.")
@click.option("--timeout", type=_Duration(), metavar="TIME", help="Give up after this long (code 13), such as 6h.")
@click.argument("job", shell_complete=completing_jobs(_unfinished))
@click.pass_context
def watch(ctx: click.Context, /, job: str, form: str | None, timeout: timedelta | None, **_: object) -> Exit:
    """Follow JOB to its end; the exit code says how."""
    session = session_of(ctx)
    seconds = timeout.total_seconds() if timeout else None
    return follow(session, session.home, job, as_json=form == "json", timeout=seconds)


@cli.command()
@options.where
@options.everywhere
@options.form
@click.option("--since", type=_Duration(), metavar="TIME", help="Only turns that ended within this time, such as 6h.")
@click.pass_context
def timeline(ctx: click.Context, /, form: str | None, since: timedelta | None, **_: object) -> None:
    """Show the history of each GPU."""
    session = session_of(ctx)
    snapshot = session.reader.snapshot(session.scope, widen=session.widen, events=True)
    found = timeline_of(snapshot, snapshot.now - since if since else None)
    if form:
        say(dumped(found, form))
    else:
        show_timeline(output(), found)


@cli.command()
@options.where
@click.argument("job", shell_complete=completing_jobs(lambda job: _unfinished(job) and not job.spec.suspend))
@click.pass_context
def suspend(ctx: click.Context, /, job: str, **_: object) -> None:
    """Stop JOB at its next checkpoint."""
    _set_suspend(session_of(ctx), job, to=True)


@cli.command()
@options.where
@click.argument("job", shell_complete=completing_jobs(lambda job: _unfinished(job) and job.spec.suspend))
@click.pass_context
def resume(ctx: click.Context, /, job: str, **_: object) -> None:
    """Resume JOB from its checkpoint."""
    _set_suspend(session_of(ctx), job, to=False)


def _set_suspend(session: Session, name: str, *, to: bool) -> None:
    job = session.reader.job(session.home, name)
    done = "suspended" if to else "resumed"
    if not _unfinished(job):
        raise RelayError(
            f"{job.key} has {str(job.status.phase).lower()} already: there is nothing that could be {done}"
        )
    if job.spec.suspend is to:
        say(f"{_KIND}/{name} is {'suspended' if to else 'not suspended'} already")
        return
    session.cluster.patch(JOBS, job.key.namespace, name, {"spec": {"suspend": to}})
    follows = "it stops at its next checkpoint" if to else "it waits for its turn, and resumes from its checkpoint"
    say(f"{_KIND}/{name} {done}: {follows}")


@cli.command()
@options.where
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.argument("job", shell_complete=completing_jobs(lambda _: True))
@click.pass_context
def cancel(ctx: click.Context, /, job: str, yes: bool, **_: object) -> None:
    """Delete JOB and end its training.

    `suspend` stops it so that it can resume later.
    """
    session = session_of(ctx)
    mine = session.reader.job(session.home, job)
    if not yes:
        _confirm(mine)
    session.cluster.delete(JOBS, mine.key.namespace, job, mine.key.uid)
    say(f"{_KIND}/{job} deleted")


def _confirm(job: Job) -> None:
    """Ask whether a job may be deleted, and print what is lost."""
    if not sys.stdin.isatty():
        raise click.UsageError("cancel asks before it deletes, and there is no terminal to ask on: add --yes")
    for sentence in losses(job):
        say(sentence, err=True)
    if not click.confirm(f"Delete {job.key}?", err=True):
        raise RelayError("nothing was deleted")
