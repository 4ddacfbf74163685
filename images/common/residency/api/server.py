"""Run a resident's app: uvicorn with limits on connections, and who may call the routes of control."""

import sys

import kubernetes
import uvicorn
from fastapi import FastAPI

from residency.api.auth import Control, OpenControl, TokenFile
from residency.api.connection_limits import ConnectionLimits, bounded_protocol
from residency.api.token_reviews import TokenReviews, authentication_api
from residency.settings import ResidentSettings

SWITCH_SECONDS = 0.001  # threads that review tokens yield to the event loop sooner than by default


class NoClusterError(Exception):
    """The settings need a Kubernetes API server, and none is known."""


def server_of(app: FastAPI, settings: ResidentSettings) -> uvicorn.Server:
    """Return the server of an app; it is run by the caller."""
    sys.setswitchinterval(SWITCH_SECONDS)
    connections = ConnectionLimits(settings.max_connections, settings.max_connections // 4, settings.transfer_timeout)
    config = uvicorn.Config(
        app,
        host=settings.bind_address,
        port=settings.http_port,
        http=bounded_protocol(connections),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    return uvicorn.Server(config)


def control_of(settings: ResidentSettings) -> Control:
    """Return what decides on control calls; raises NoClusterError."""
    if settings.control == "open":
        return OpenControl()
    if settings.control_token_file is not None:
        return TokenFile(settings.control_token_file)
    setting = settings.variable("control_service_accounts")
    try:
        api = authentication_api()
    except kubernetes.config.ConfigException as error:
        message = f"{setting} needs a Kubernetes API server: run in a pod, or set KUBECONFIG ({error})"
        raise NoClusterError(message) from error
    return TokenReviews(api, settings.control_audience, settings.control_service_accounts, setting)
