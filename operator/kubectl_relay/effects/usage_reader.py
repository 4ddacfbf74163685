"""Reads how long each owner has had the GPUs, with the user's rights."""

from collections.abc import Mapping

from gpu_relay.api import words
from gpu_relay.clients.resources import CONFIG_MAPS, LEASES
from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.lease import GpuLease, lease_of
from gpu_relay.domain.objects.usage import Day, accounts_of
from gpu_relay.domain.untrusted import mapping, read_object
from gpu_relay.overview.usage import merged
from kubectl_relay.effects.cluster import Cluster, ForbiddenError

_MINE = f"{words.LABEL_MANAGED_BY}={words.MANAGED_BY}"


def read_usage(cluster: Cluster, relay_namespace: str) -> tuple[dict[str, dict[str, Day]], tuple[str, ...]]:
    """Return the accounts of each GPU by the keys of the archive, and what could not be read.

    The archive is a few minutes old; the Leases are exact, and their readers could renew the holds of turns, so few may
    read them. Raises RelayError if neither may be read.
    """
    archived, error = _archive(cluster, relay_namespace)
    try:
        leases = {lease.gpu: lease for lease in map(lease_of, cluster.list(LEASES, relay_namespace, labels=_MINE))}
    except ForbiddenError as refused:
        if error is not None:
            raise error from refused
        return merged(archived, _NONE, cluster.now), (f"The last minutes are not counted: {refused}.",)
    unknown = () if error is None else (f"Days that have been archived are not counted: {error}.",)
    return merged(archived, leases, cluster.now), unknown


_NONE: Mapping[str, GpuLease] = {}


def _archive(cluster: Cluster, namespace: str) -> tuple[dict[str, dict[str, Day]], ForbiddenError | None]:
    try:
        maps = cluster.list(CONFIG_MAPS, namespace, labels=words.LABEL_USAGE)
    except ForbiddenError as error:
        return {}, error
    return {_gpu(each): _days(each) for each in maps}, None


def _gpu(config_map: Object) -> str:
    return str(config_map["metadata"]["name"]).removeprefix(words.USAGE_PREFIX)


def _days(config_map: Object) -> dict[str, Day]:
    return {key: accounts_of(read_object(str(value))) for key, value in mapping(config_map.get("data")).items()}
