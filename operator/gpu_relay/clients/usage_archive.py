"""The client of the usage archive: for each GPU a ConfigMap that has the accounts of each day.

A key is a day and the first characters of the UID of the Lease that counted it, for example `2026-01-31.0f8e2d1c`: a
Lease that replaces another one of the same GPU counts on its own, and each write of a key replaces the last one.
"""

import json
from collections.abc import Mapping

from gpu_relay.api import words
from gpu_relay.clients.kube import Kube, KubeError, Object
from gpu_relay.clients.resources import CONFIG_MAPS
from gpu_relay.domain.objects.lease import GpuLease
from gpu_relay.domain.objects.usage import Usage, accounts_written, archive_key
from gpu_relay.domain.untrusted import mapping

_MOST_BYTES = 900_000
"""The API server refuses ConfigMaps of more than 1 MiB."""


class UsageArchive:
    """The ConfigMaps in the operator's namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._path = CONFIG_MAPS.path(namespace)

    async def write(self, lease: GpuLease, usage: Usage, oldest: str) -> None:
        """Write all days that a Lease has, and remove those before the oldest day. Raises KubeError.

        Of more than a ConfigMap may hold, the newest days are kept.
        """
        days = {archive_key(day, lease.uid): accounts_written(accounts) for day, accounts in usage.days.items()}
        data = {key: json.dumps(each, separators=(",", ":")) for key, each in days.items()}
        path = f"{self._path}/{words.USAGE_PREFIX}{lease.gpu}"
        try:
            present = mapping((await self._kube.get(path)).get("data"))
        except KubeError as error:
            if not error.not_found:
                raise
            await self._kube.create(self._path, _config_map(lease.gpu, data))
            return
        whole = {**present, **data}
        removed = {key for key in whole if key < oldest} | _too_much(whole)
        changed = {key: None if key in removed else value for key, value in data.items() if present.get(key) != value}
        changed |= dict.fromkeys(removed & present.keys(), None)
        if changed:
            await self._kube.merge(path, {"data": changed})


def _too_much(data: Mapping[str, str]) -> set[str]:
    """Return the oldest keys, without which the others fit."""
    keys, size = sorted(data, reverse=True), 0
    for kept, key in enumerate(keys):
        size += len(data[key])
        if size > _MOST_BYTES:
            return set(keys[kept:])
    return set()


def _config_map(gpu: str, data: Object) -> Object:
    labels = {words.LABEL_MANAGED_BY: words.MANAGED_BY, words.LABEL_USAGE: "days", words.LABEL_GPU: gpu}
    return {"metadata": {"name": f"{words.USAGE_PREFIX}{gpu}", "labels": labels}, "data": data}
