"""Kopf handlers: they pass raw watch events to the controllers. They decide nothing and write nothing.

They are coroutines although they await nothing: Kopf runs plain functions in threads, and the controllers are not
thread-safe.
"""

import logging
from typing import Any

import kopf

from gpu_relay.api import words
from gpu_relay.clients import resources, workloads
from gpu_relay.controllers.manager import Manager

_DELETED = "DELETED"


def registry_for(manager: Manager, *, kueue: bool, checks: bool | None) -> kopf.OperatorRegistry:
    """Return a registry of handlers that pass events to the manager; with `kueue`, Workloads are watched, too.

    `checks` is True if the Workloads of all kinds matter, because Kueue has an AdmissionCheck of the operator; None if
    AdmissionChecks cannot be read.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure_kopf(settings)

    @kopf.on.login(registry=registry)
    def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**kwargs)  # Kopf's own login ignores `tokenFile`

    @kopf.on.event(words.GROUP, words.VERSION, words.PLURAL, registry=registry)
    async def job_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_job(dict(event["object"]), deleted=event["type"] == _DELETED)

    @kopf.on.event("v1", "pods", labels={words.LABEL_GPU: kopf.PRESENT}, registry=registry)
    async def training_pod_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_training_pod(dict(event["object"]))

    @kopf.on.event("v1", "pods", labels={words.LABEL_PREPARATION: kopf.PRESENT}, registry=registry)
    async def preparing_pod_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_preparing_pod(dict(event["object"]), deleted=event["type"] == _DELETED)

    @kopf.on.event("v1", "pods", labels={words.LABEL_RESIDENT: kopf.PRESENT}, registry=registry)
    async def resident_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_resident(dict(event["object"]), deleted=event["type"] == _DELETED)

    if kueue:
        _watch_kueue(registry, manager, checks)
    return registry


def _watch_kueue(registry: kopf.OperatorRegistry, manager: Manager, checks: bool | None) -> None:
    _watch_workloads(registry, manager, {} if checks else {words.LABEL_JOB_UID: kopf.PRESENT})
    if checks is not None:
        _watch_checks(registry, manager)


def _watch_checks(registry: kopf.OperatorRegistry, manager: Manager) -> None:
    kind = resources.ADMISSION_CHECKS

    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    async def check_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_check(dict(event["object"]), deleted=event["type"] == _DELETED)


def _watch_workloads(registry: kopf.OperatorRegistry, manager: Manager, labels: dict[str, Any]) -> None:

    @kopf.on.event(workloads.GROUP, workloads.VERSION, workloads.PLURAL, labels=labels, registry=registry)
    async def workload_seen(event: kopf.RawEvent, **_: Any) -> None:
        manager.observe_workload(dict(event["object"]), deleted=event["type"] == _DELETED)


class _NoDiffs(kopf.DiffBaseStorage):
    """A storage that stores nothing: handlers of raw events need no diffs, and each diff costs a deep copy."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Store nothing: only handlers of changes would read it, and there are none."""


def configure_kopf(settings: kopf.OperatorSettings) -> None:
    """Configure Kopf as a watcher only: no peering, no finalizers, no annotations, no Events."""
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    # An object may have 1.5 MiB. Kopf keeps a whole page in memory, and each object until its worker has been idle.
    settings.watching.chunk_size = 20
    settings.queueing.idle_timeout = 0.05
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
