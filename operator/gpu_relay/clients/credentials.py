"""The connection that a kubeconfig or a service account describes.

The Kubernetes library reads both, with every kind of authentication and TLS setting that they know. Only this module
of `clients` imports it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import getproxies_environment

import aiohttp
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.client import rest
from kubernetes.aio.config import kube_config

from gpu_relay.clients.kube_error import KubeError
from gpu_relay.clients.rest_client import Connection

UNUSABLE = (config.ConfigException, OSError, ValueError, TypeError, yaml.YAMLError)
"""What the Kubernetes library raises for a kubeconfig that cannot be used."""


async def load(kubeconfig: str | None, context: str | None) -> client.Configuration:
    """Read a kubeconfig; without one, the service account of the pod, or else the default kubeconfig.

    Raises KubeError for one that cannot be used.
    """
    configuration = client.Configuration()
    in_pod = kubeconfig is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    path = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    source = "the pod's service account" if in_pod else f"the kubeconfig {path}"
    try:
        if in_pod:
            config.load_incluster_config(configuration)
        else:
            require_file(path)
            await config.load_kube_config(path, context, configuration)
    except UNUSABLE as error:
        remedy = "" if in_pod else "; set KUBECONFIG to a file that kubectl can use"
        raise KubeError(0, "InvalidCredentials", f"cannot use {source}: {error}{remedy}") from error
    return configuration


def require_file(path: str) -> None:
    """Raise ConfigException if no file of a path exists; it may name several, as `$KUBECONFIG` does."""
    if not any(Path(file).expanduser().exists() for file in path.split(os.pathsep) if file):
        raise config.ConfigException("there is no such file")


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None) -> AsyncIterator[Connection]:
    """Connect as `load` says."""
    configuration = await load(kubeconfig, context)

    async def authorization() -> str:
        return await configuration.get_api_key_with_prefix("BearerToken") or ""

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=rest.RESTClientObject(configuration).ssl_context),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=configuration.proxy,
        # Proxies count, ~/.netrc does not: aiohttp would read it in a thread for every request.
        trust_env=bool(getproxies_environment()),
    ) as session:
        yield Connection(session, configuration.host, authorization, configuration.tls_server_name)
