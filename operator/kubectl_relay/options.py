"""Options, with what their values can be completed to."""

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from gpu_relay.domain.quantities import duration
from kubectl_relay.exits import RelayError
from kubectl_relay.session import Session

if TYPE_CHECKING:
    from gpu_relay.domain.objects.job import Job

F = TypeVar("F", bound=Callable[..., Any])


def session_of(ctx: click.Context) -> Session:
    """Return the session by the options of a command, or else of the group before it."""
    found: dict[str, Any] = {}
    here: click.Context | None = ctx
    while here is not None:
        for field in fields(Session):
            value = here.params.get(field.name)
            if value and field.name not in found:
                found[field.name] = value
        here = here.parent
    return Session(**found)


def _contexts(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from kubectl_relay.effects.cluster import context_names

    names = context_names(session_of(ctx).kubeconfig)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _namespaces(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    try:
        names = session_of(ctx).reader.namespaces()
    except RelayError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def completing_jobs(
    wanted: "Callable[[Job], bool]", *, others: bool = False
) -> Callable[..., list[CompletionItem[str]]]:
    """Complete to the names of the jobs of the namespace that a command applies to.

    `others` includes Jobs of other kinds that take turns through Kueue.
    """

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        session = session_of(ctx)
        try:
            found = {
                job.key.name: job.status.phase or "new" for job in session.reader.jobs(session.home) if wanted(job)
            }
            if others:
                found |= session.reader.names_of_workloads(session.home)
        except RelayError:
            return []
        return [CompletionItem(name, help=help) for name, help in found.items() if name.startswith(incomplete)]

    return complete


_DAYS = re.compile(r"([0-9]{1,4})d")


class Duration(click.ParamType[timedelta]):
    """A length of time such as `90s`, `6h` or `7d`."""

    name = "duration"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read a duration; the usage error shows how to write one."""
        if isinstance(value, timedelta):
            return value
        if days := _DAYS.fullmatch(value):
            return timedelta(days=int(days[1]))
        try:
            return duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_WHERE = (
    click.option("-n", "--namespace", metavar="NAME", shell_complete=_namespaces, help="Namespace of the jobs."),
    click.option("--context", metavar="NAME", shell_complete=_contexts, help="Context of the kubeconfig."),
    click.option("--kubeconfig", metavar="FILE", type=click.Path(), help="Default: $KUBECONFIG, or ~/.kube/config."),
    click.option("--relay-namespace", metavar="NAME", shell_complete=_namespaces,
                 help="The operator's namespace. Default: $GPU_RELAY_NAMESPACE, or gpu-relay."),
)  # fmt: skip
_ALL = click.option("-A", "--all-namespaces", is_flag=True, help="Jobs of all namespaces.")
_FORM = click.option("-o", "--output", "form", type=click.Choice(["json", "yaml"]), help="Output format.")


def where(command: F) -> F:
    """Add the options that select the cluster and the namespace."""
    for option in reversed(_WHERE):
        command = option(command)
    return command


def everywhere(command: F) -> F:
    """Add `-A`."""
    return _ALL(command)


def form(command: F) -> F:
    """Add `-o`."""
    return _FORM(command)
