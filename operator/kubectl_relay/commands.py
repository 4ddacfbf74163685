"""The commands and their options. A command imports the rest when it runs, so that `--help` starts fast."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gpu_relay import __version__
from gpu_relay.api.words import TERMINAL_PHASES
from kubectl_relay import options
from kubectl_relay.exits import Exit
from kubectl_relay.options import Duration, completing_jobs, session_of

if TYPE_CHECKING:
    from gpu_relay.domain.objects.job import Job

_HELP = {"help_option_names": ["-h", "--help"]}


def _any(_: "Job") -> bool:
    return True


def _unfinished(job: "Job") -> bool:
    return job.status.phase not in TERMINAL_PHASES


def _waits_for_review(job: "Job") -> bool:
    from gpu_relay.domain.job import review

    return review.waits(job)


@click.group(context_settings=_HELP)
@options.where
@options.everywhere
@click.version_option(__version__, prog_name="kubectl relay", message="%(prog)s %(version)s")
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
def jobs(ctx: click.Context, /, form: str | None, **_: object) -> None:
    """Show all jobs: the phase and its reason, the position in the queue, the eta."""
    from kubectl_relay import listing

    listing.jobs(session_of(ctx), form)


@cli.command()
@options.where
@options.everywhere
@options.form
@click.option("-w", "--watch", "keep", is_flag=True, help="Show them again when they change, until Ctrl-C.")
@click.pass_context
def gpus(ctx: click.Context, /, form: str | None, keep: bool, **_: object) -> None:
    """Show the owner of each GPU, and the jobs that wait for it."""
    if keep:
        from kubectl_relay.gpu_watching import follow_gpus

        follow_gpus(session_of(ctx), form)
    else:
        from kubectl_relay import listing

        listing.gpus(session_of(ctx), form)


@cli.command("explain")
@options.where
@options.form
@click.argument("job", shell_complete=completing_jobs(_any, others=True))
@click.pass_context
def explain_job(ctx: click.Context, /, job: str, form: str | None, **_: object) -> None:
    """Say why JOB waits, and what would change it."""
    from kubectl_relay import explaining

    explaining.explain_job(session_of(ctx), job, form)


@cli.command()
@options.where
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the pod ends; wait for a pod to start.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="NUMBER", help="The attempt; default: the newest.")
@click.argument("job", shell_complete=completing_jobs(_any))
@click.pass_context
def logs(ctx: click.Context, /, job: str, follow: bool, attempt: int | None, **_: object) -> None:
    """Print the log of JOB: the trainer's, or the preparing pod's while JOB is prepared."""
    from kubectl_relay.logs import logs as print_logs

    print_logs(session_of(ctx), job, attempt, follow=follow)


@cli.command()
@options.where
@click.option("-o", "--output", "form", type=click.Choice(["json"]), help="Output format: JSON, an object a line.")
@click.option("--timeout", type=Duration(), metavar="TIME", help="Give up after this long (code 13), such as 6h.")
@click.argument("job", shell_complete=completing_jobs(_unfinished))
@click.pass_context
def watch(ctx: click.Context, /, job: str, form: str | None, timeout: timedelta | None, **_: object) -> Exit:
    """Follow JOB to its end; the exit code says how."""
    from kubectl_relay.watching import follow

    session = session_of(ctx)
    seconds = timeout.total_seconds() if timeout else None
    return follow(session, session.home, job, as_json=form == "json", timeout=seconds)


@cli.command()
@options.where
@options.everywhere
@options.form
@click.option("--since", type=Duration(), metavar="TIME", help="Only turns that ended within this time, such as 6h.")
@click.argument("job", required=False, shell_complete=completing_jobs(_any, others=True))
@click.pass_context
def timeline(ctx: click.Context, /, form: str | None, since: timedelta | None, job: str | None, **_: object) -> None:
    """Show the history of each GPU.

    With JOB, only the turns of this job.
    """
    from kubectl_relay import explaining

    explaining.timeline(session_of(ctx), form, since, job)


@cli.command()
@options.where
@click.option("--by", type=click.Choice(["namespace", "job", "gpu", "day"]), default="namespace", show_default=True)
@click.option("--since", type=Duration(), metavar="TIME", default="7d", show_default=True, help="Whole days, in UTC.")
@click.option(
    "--price", type=click.FloatRange(min=0), metavar="NUMBER", help="Show costs, at this price of a GPU hour."
)
@click.option("-o", "--output", "form", type=click.Choice(["csv", "json", "yaml"]), help="Output format.")
@click.pass_context
def usage(ctx: click.Context, /, by: str, since: timedelta, price: float | None, form: str | None, **_: object) -> None:
    """Show for how long each namespace, job, GPU or day has used the GPUs."""
    from kubectl_relay import accounting

    accounting.usage(session_of(ctx), by, since, price, form)


@cli.command()
@options.where
@click.argument("job", shell_complete=completing_jobs(lambda job: _unfinished(job) and not job.spec.suspend))
@click.pass_context
def suspend(ctx: click.Context, /, job: str, **_: object) -> None:
    """Stop JOB at its next checkpoint."""
    from kubectl_relay import changing

    changing.set_suspend(session_of(ctx), job, to=True)


@cli.command()
@options.where
@click.argument("job", shell_complete=completing_jobs(lambda job: _unfinished(job) and job.spec.suspend))
@click.pass_context
def resume(ctx: click.Context, /, job: str, **_: object) -> None:
    """Resume JOB from its checkpoint."""
    from kubectl_relay import changing

    changing.set_suspend(session_of(ctx), job, to=False)


@cli.command()
@options.where
@click.argument("job", shell_complete=completing_jobs(_waits_for_review))
@click.pass_context
def approve(ctx: click.Context, /, job: str, **_: object) -> None:
    """Approve the labels of JOB, which waits for a review."""
    from kubectl_relay import changing

    changing.approve(session_of(ctx), job)


@cli.command()
@options.where
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.argument("job", shell_complete=completing_jobs(_any))
@click.pass_context
def cancel(ctx: click.Context, /, job: str, yes: bool, **_: object) -> None:
    """Delete JOB and end its training.

    `suspend` stops it so that it can resume later.
    """
    from kubectl_relay import changing

    changing.cancel(session_of(ctx), job, yes=yes)
