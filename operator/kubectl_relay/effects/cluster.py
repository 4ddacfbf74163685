"""The API server, called with the user's own kubeconfig and rights."""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.rest import RESTResponse
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION, KubeConfigMerger

from gpu_relay.clients.resources import POD_PROXY, Resource, pod_proxy_path
from gpu_relay.domain.objects.job import Object
from gpu_relay.domain.objects.resident import DEFAULT_PORT
from kubectl_relay.exits import Exit, RelayError

_PAGE = 500
_TIMEOUT = 15.0
_CONNECT_TIMEOUT = 5.0
_MERGE = "application/merge-patch+json"


class ApiError(RelayError):
    """The API server's refusal."""

    def __init__(self, status: int, message: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message, code)
        self.status = status


class BrokenError(RelayError):
    """The API server cannot be reached, or the connection broke."""


class ForbiddenError(ApiError):
    """A right is missing; `rule` says which one."""

    def __init__(self, rule: str) -> None:
        super().__init__(403, f"you may not {rule}", Exit.FORBIDDEN)
        self.rule = rule


class NotFoundError(ApiError):
    """The kind is known and the object does not exist."""


class NotInstalledError(ApiError):
    """The API server does not know the kind."""


class Cluster:
    """Calls with time limits; every failure is a RelayError."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = api
        self.namespace = namespace
        """The namespace of the kubeconfig's context."""
        self._ahead = 0.0

    @classmethod
    def connect(cls, kubeconfig: str | None, context: str | None) -> "Cluster":
        """Read a kubeconfig, as kubectl does: the given one, `$KUBECONFIG`, or `~/.kube/config`."""
        path = kubeconfig or KUBE_CONFIG_DEFAULT_LOCATION
        settings = client.Configuration()
        settings.retries = False
        try:
            contexts, active = config.list_kube_config_contexts(config_file=path)
            chosen = active if context is None else next((each for each in contexts if each["name"] == context), None)
            if chosen is None:
                known = ", ".join(each["name"] for each in contexts)
                raise RelayError(f"the kubeconfig has no context {context!r}; it has: {known}")
            _refuse_impersonation(path, chosen["context"]["user"])
            api = config.new_client_from_config(path, context, client_configuration=settings)
        except (config.ConfigException, OSError, ValueError, TypeError) as error:
            raise RelayError(
                f"cannot use the kubeconfig {path}: {error}; name another one with --kubeconfig"
            ) from error
        return cls(api, chosen["context"].get("namespace") or "default")

    @property
    def now(self) -> datetime:
        """The time by the API server's clock as it was last heard, in this machine's time zone."""
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + self._ahead).astimezone()

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Read one object."""
        return self._json("GET", resource, "get", namespace, name)

    def list(self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Object]:
        """Read a whole list, in pages."""
        items: list[Object] = []
        token = ""
        while True:
            query = {"labelSelector": labels, "fieldSelector": fields, "limit": _PAGE, "continue": token}
            page = self._json("GET", resource, "list", namespace, query=query)
            items.extend(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return items

    def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Change fields of an object."""
        query = {"fieldManager": "kubectl-relay"}
        return self._json("PATCH", resource, "patch", namespace, name, query=query, body=body)

    def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this UID."""
        self._json("DELETE", resource, "delete", namespace, name, body={"preconditions": {"uid": uid}})

    def ask_pod(self, namespace: str, pod: str, port: int, path: str, *, timeout: float) -> Object:
        """GET a path of a pod's HTTP server, by way of the API server."""
        answer = self._call("GET", pod_proxy_path(namespace, pod, port, path), timeout=timeout)
        if answer.status == 403:
            raise ForbiddenError(_rule("get", POD_PROXY, namespace))
        if answer.status >= 400:
            raise ApiError(answer.status, f"no answer from pod {pod}: {_message(answer)}")
        return _object(answer)

    def watch(
        self, resource: Resource, namespace: str, name: str, *, version: str, seconds: int
    ) -> Iterator[tuple[str, Object]]:
        """Yield the changes of one object, as (type, object), for so many seconds; then return."""
        query = {
            "watch": "1", "fieldSelector": f"metadata.name={name}", "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }  # fmt: skip
        answer = self._call("GET", resource.path(namespace), query=query, timeout=seconds + _TIMEOUT)
        self._refuse(answer, "watch", resource, namespace)
        pending = b""
        try:
            for part in answer.response.stream(65536, decode_content=True):
                *lines, pending = (pending + part).split(b"\n")
                for line in filter(None, lines):
                    change = json.loads(line)
                    yield str(change["type"]), dict(change["object"])
        except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
            raise BrokenError(f"the watch was cut off: {error}") from error
        finally:
            answer.response.release_conn()

    def _json(
        self,
        method: str,
        resource: Resource,
        verb: str,
        namespace: str | None,
        name: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
    ) -> Object:
        answer = self._call(method, resource.path(namespace, name), query=query, body=body)
        self._refuse(answer, verb, resource, namespace)
        return _object(answer)

    def _refuse(self, answer: RESTResponse, verb: str, resource: Resource, namespace: str | None) -> None:
        """Turn an error of the API server into a sentence."""
        if answer.status < 400:
            return
        if answer.status == 401:
            raise ApiError(401, f"{self._host} does not accept your credentials: {_message(answer)}", Exit.FORBIDDEN)
        if answer.status == 403:
            message = _message(answer)
            if "cannot" not in message:  # an admission policy's words, not RBAC's
                raise ApiError(403, message, Exit.FORBIDDEN)
            raise ForbiddenError(_rule(verb, resource, namespace))
        if answer.status == 404:
            if not _object(answer).get("details", {}).get("name"):
                raise NotInstalledError(404, f"the cluster knows no {resource}", Exit.NOT_INSTALLED)
            raise NotFoundError(404, _message(answer), Exit.NOT_FOUND)
        raise ApiError(answer.status, f"{_message(answer)} ({answer.status})")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
        timeout: float = _TIMEOUT,
    ) -> RESTResponse:
        given = {key: value for key, value in (query or {}).items() if value != ""}
        url = self._host + path + (f"?{urlencode(given)}" if given else "")
        headers = {"Accept": "application/json", "Content-Type": _MERGE if method == "PATCH" else "application/json"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = self._api.call_api(method, url, headers, body, _request_timeout=(_CONNECT_TIMEOUT, timeout))
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
            raise BrokenError(f"cannot reach the API server at {self._host}: {_cause(error)}") from error
        self._hear(answer)
        return answer

    def _hear(self, answer: RESTResponse) -> None:
        said = answer.headers.get("Date")
        if said:
            self._ahead = round(parsedate_to_datetime(said).timestamp() - datetime.now(UTC).timestamp())

    @property
    def _host(self) -> str:
        return str(self._api.configuration.host)


def _refuse_impersonation(path: str, user: str) -> None:
    """Refuse a user who is to act as another: the client library would leave that out, and act with more rights."""
    named = KubeConfigMerger(path).config["users"].get_with_name(user, safe=True)
    if named is not None and "as" in (named.value.get("user") or {}):
        raise RelayError(f"user {user} of the kubeconfig impersonates another (`as`), which this plugin cannot do")


def _rule(verb: str, resource: Resource, namespace: str | None) -> str:
    """Name a right as a role would grant it."""
    where = f"in namespace {namespace}" if namespace is not None else "in all namespaces"
    group = f'apiGroups ["{resource.group}"]'
    return f'{verb} {resource} {where} (a rule with {group}, resources ["{resource.full_plural}"], verbs ["{verb}"])'


def _object(answer: RESTResponse) -> Object:
    try:
        read = json.loads(answer.read() or b"{}")
    except json.JSONDecodeError:
        return {"message": answer.read().decode(errors="replace").strip()}
    return read if isinstance(read, dict) else {}


def _message(answer: RESTResponse) -> str:
    return str(_object(answer).get("message") or f"HTTP status {answer.status}")


def _cause(error: Exception) -> str:
    """Return the words of the operating system, or of TLS, without the layers that carried them."""
    reason = getattr(error, "reason", None)
    inner = reason if isinstance(reason, Exception) else error
    text = str(inner.args[-1] if inner.args else inner)
    return text.split(">: ", 1)[-1]


def relay_namespace() -> str:
    """Return the operator's namespace, as the operator itself reads it."""
    return os.environ.get("GPU_RELAY_NAMESPACE") or "gpu-relay"


def resident_port() -> int:
    """Return the port of residents whose pods name none, as the operator itself reads it."""
    said = os.environ.get("GPU_RELAY_RESIDENT_PORT", "")
    return int(said) if said.isdecimal() else DEFAULT_PORT
