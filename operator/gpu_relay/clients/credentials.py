"""The connection that a kubeconfig or a service account describes.

The Kubernetes library reads both, with every kind of authentication and TLS setting that they know. Only this module
of `clients` imports it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import rest

from gpu_relay.clients.rest_client import Connection


async def load(kubeconfig: str | None, context: str | None) -> client.Configuration:
    """Read a kubeconfig; without one, the service account of the pod, or else the default kubeconfig."""
    configuration = client.Configuration()
    if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config(configuration)
    else:
        await config.load_kube_config(kubeconfig, context, configuration)
    return configuration


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
