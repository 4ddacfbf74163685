"""The API server, called through the operator's client with the user's own kubeconfig and rights."""

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from kubernetes.aio import config
from kubernetes.aio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from gpu_relay.clients import clock
from gpu_relay.clients.credentials import UNUSABLE, require_file
from gpu_relay.clients.http import UnavailableError, call, open_session
from gpu_relay.clients.kube import Kube, KubeError
from gpu_relay.clients.kube_error import TooLargeError
from gpu_relay.clients.resources import POD_LOG, POD_PROXY, Resource, pod_proxy_path
from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.resident import DEFAULT_PORT, ResidentPod
from gpu_relay.domain.untrusted import read_object
from kubectl_relay.exits import Exit, RelayError

T = TypeVar("T")
_TIMEOUT = 15.0
_REPORT_TIMEOUT = 4.0
_REPORT_BYTES = 64 * 1024
"""Of a resident's report: any pod may have the label of residents."""
_LOG_SECONDS = 7 * 86400.0


class ApiError(RelayError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message, code)
        self.status = status


class BrokenError(RelayError):
    """The API server cannot be reached, or the connection broke."""


class ForbiddenError(ApiError):
    """A right is missing; the message has the rule that would grant it, `right` is its short form."""

    def __init__(self, verb: str, resource: Resource, namespace: str | None) -> None:
        where = f"in namespace {namespace}" if namespace is not None else "in all namespaces"
        self.right = f"{verb} {resource} {where}"
        group, plural = f'apiGroups ["{resource.group}"]', f'resources ["{resource.full_plural}"]'
        rule = f'a rule with {group}, {plural}, verbs ["{verb}"]'
        super().__init__(403, f"you may not {self.right} ({rule})", Exit.FORBIDDEN)


class NotFoundError(ApiError):
    """The kind is known and the object does not exist."""


class NotInstalledError(ApiError):
    """The API server does not know the kind."""


class Cluster:
    """Calls that block; every failure is a RelayError."""

    def __init__(self, kube: Kube, runner: asyncio.Runner, namespace: str) -> None:
        self._kube = kube
        self._runner = runner
        self.namespace = namespace
        """The namespace of the kubeconfig's context."""

    @classmethod
    def connect(cls, kubeconfig: str | None, context: str | None) -> "Cluster":
        """Read a kubeconfig, as kubectl does: the given one, `$KUBECONFIG`, or `~/.kube/config`."""
        path = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
        runner = asyncio.Runner()
        try:
            contexts, active = _contexts(path)
            chosen = active if context is None else next((each for each in contexts if each["name"] == context), None)
            if chosen is None:
                known = ", ".join(each["name"] for each in contexts)
                raise RelayError(f"the kubeconfig has no context {context!r}; it has: {known}")
            _refuse_impersonation(path, chosen["context"]["user"])
            connection = Kube.connect(
                field_manager="kubectl-relay", timeout=_TIMEOUT, kubeconfig=path, context=chosen["name"]
            )
            cluster = cls(runner.run(connection.__aenter__()), runner, chosen["context"].get("namespace") or "default")
        except KubeError as error:
            raise RelayError(error.message) from error
        except UNUSABLE as error:
            raise RelayError(
                f"cannot use the kubeconfig {path}: {error}; name another one with --kubeconfig"
            ) from error
        weakref.finalize(cluster, _close, runner, connection)
        return cluster

    @property
    def now(self) -> datetime:
        """The time by the API server's clock, in this machine's time zone."""
        return clock.now().astimezone()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Read one object."""
        return self._run(self._kube.get(resource.path(namespace, name)), "get", resource, namespace)

    def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read a whole list."""
        listing = self._kube.list(resource.path(namespace), labels=labels, fields=fields)
        return self._run(listing, "list", resource, namespace)

    def serves(self, resource: Resource) -> bool:
        """True if the API server knows the group and version of a kind, which every account may read."""
        try:
            self._run(self._kube.get(resource.root), "get", resource, None)
        except (NotFoundError, NotInstalledError):
            return False
        except ForbiddenError:
            pass
        return True

    def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Change fields of an object."""
        return self._run(self._kube.merge(resource.path(namespace, name), body), "patch", resource, namespace)

    def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this UID, unless it has been deleted already."""
        self._run(self._kube.delete(resource.path(namespace, name), uid=uid), "delete", resource, namespace)

    def reports(self, pods: Iterable[ResidentPod]) -> "tuple[Object | RelayError, ...]":
        """Read what residents report of their GPUs, at the same time, through the API server's pod proxy.

        The proxy refuses loopback addresses, so pods that have one are asked from here.
        """

        async def read(pod: ResidentPod) -> Object | RelayError:
            if pod.has_loopback_address:
                return await _report_from_here(pod)
            path = pod_proxy_path(pod.namespace, pod.name, pod.port, "api/v1/gpu")
            try:
                raw = await self._kube.read(path, {}, most=_REPORT_BYTES, timeout=_REPORT_TIMEOUT)
                return read_object(raw) or BrokenError(f"pod {pod.name} does not answer with a JSON object")
            except TooLargeError as error:
                return BrokenError(f"the answer of pod {pod.name} has more than {error.most:,} bytes")
            except KubeError as error:
                if error.status == 403:
                    return ForbiddenError("get", POD_PROXY, pod.namespace)
                if error.status:
                    return ApiError(error.status, f"no answer from pod {pod.name}: {error.message}")
                return self._error(error, "get", POD_PROXY, pod.namespace)

        async def read_all() -> tuple[Object | RelayError, ...]:
            return tuple(await asyncio.gather(*map(read, pods)))

        return self._runner.run(read_all())

    def watch(
        self, resource: Resource, namespace: str, name: str, *, version: str, seconds: int
    ) -> Iterator[tuple[str, Object]]:
        """Yield the changes of one object, as (type, object), for so many seconds; then return.

        ApiError (status 410) where `version` is too old.
        """
        fields = f"metadata.name={name}"
        changes = self._kube.watch(resource.path(namespace), version=version, seconds=seconds, fields=fields)
        return self._each(changes, "watch", resource, namespace)

    def log(self, namespace: str, pod: str, container: str, *, follow: bool) -> Iterator[bytes]:
        """Yield a container's log in parts; with `follow` until the container ends, for a week at most."""
        query = {"container": container, "follow": "true" if follow else ""}
        parts = self._kube.stream(POD_LOG.path(namespace, pod), query, seconds=_LOG_SECONDS)
        return self._each(parts, "get", POD_LOG, namespace)

    def _each(self, items: AsyncGenerator[T, None], verb: str, resource: Resource, namespace: str) -> Iterator[T]:
        async def following() -> T | None:
            return await anext(items, None)

        try:
            while (item := self._run(following(), verb, resource, namespace)) is not None:
                yield item
        finally:
            self._runner.run(items.aclose())

    def _run(self, call: Coroutine[Any, Any, T], verb: str, resource: Resource, namespace: str | None) -> T:
        try:
            return self._runner.run(call)
        except KubeError as error:
            raise self._error(error, verb, resource, namespace) from error

    def _error(self, error: KubeError, verb: str, resource: Resource, namespace: str | None) -> RelayError:
        """Return a failure as a sentence that says what to change."""
        host = self._kube.server
        if error.status == 0:
            return BrokenError(f"cannot reach the API server at {host}: {_cause(error)}")
        if error.status == 401:
            return ApiError(401, f"{host} does not accept your credentials: {error.message}", Exit.FORBIDDEN)
        if error.right_is_missing:
            return ForbiddenError(verb, resource, namespace)
        if error.status == 403:
            return ApiError(403, error.message, Exit.FORBIDDEN)
        if error.kind_not_found:
            return NotInstalledError(404, f"the cluster knows no {resource}", Exit.NOT_INSTALLED)
        if error.not_found:
            return NotFoundError(404, error.message, Exit.NOT_FOUND)
        return ApiError(error.status, f"{error.message} ({error.status})")


async def _report_from_here(pod: ResidentPod) -> Object | RelayError:
    try:
        async with open_session() as session:
            return await call(session, "GET", f"{pod.base_url}/api/v1/gpu", timeout=_REPORT_TIMEOUT)
    except UnavailableError as error:
        return BrokenError(f"no answer from pod {pod.name}: {error}")


def _close(runner: asyncio.Runner, connection: Any) -> None:
    runner.run(connection.__aexit__(None, None, None))
    runner.close()


def _refuse_impersonation(path: str, user: str) -> None:
    """Refuse a user who is to act as another: the client library would leave that out, and act with more rights."""
    named = KubeConfigMerger(path).config["users"].get_with_name(user, safe=True)
    if named is not None and "as" in (named.value.get("user") or {}):
        raise RelayError(f"user {user} of the kubeconfig impersonates another (`as`), which this plugin cannot do")


def _cause(error: KubeError) -> str:
    """Return what the operating system or TLS reports, without the request."""
    cause = error.__cause__
    number = getattr(cause, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(cause or error)


def _contexts(path: str) -> tuple[list[Object], Object]:
    """Return a kubeconfig's contexts, and the current one; `path` may name several files, as `$KUBECONFIG` does."""
    require_file(path)
    contexts, active = config.list_kube_config_contexts(path)
    return contexts, active


def context_names(kubeconfig: str | None) -> list[str]:
    """Return the names of a kubeconfig's contexts; an empty list where it cannot be read."""
    try:
        contexts, _ = _contexts(kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION)
    except UNUSABLE:
        return []
    return [each["name"] for each in contexts]


def relay_namespace() -> str:
    """Return the operator's namespace, as the operator itself reads it."""
    return os.environ.get("GPU_RELAY_NAMESPACE") or "gpu-relay"


def resident_port() -> int:
    """Return the port of residents whose pods name none, as the operator itself reads it."""
    setting = os.environ.get("GPU_RELAY_RESIDENT_PORT", "")
    return int(setting) if setting.isdecimal() else DEFAULT_PORT
