"""The API server's audit log, kept for service accounts outside kube-system: what they called, and what was forbidden.

`<run folder>/audit.log` has one JSON object a line (audit.k8s.io/v1, level Metadata: who, what and how it ended).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOG = "audit.log"
POLICY_FILE = "audit-policy.json"
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}
_DECISION = "authorization.k8s.io/decision"


@dataclass(frozen=True)
class Call:
    """One answered request for an object: `resource` includes the subresource, as RBAC writes it."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    forbidden: bool
    """True where the authorizer refused; not where a quota or an admission policy did."""
    dry_run: bool = False
    """True for a call that stored nothing."""


def policy() -> str:
    """Return the audit policy: who asked for what, nothing of bodies."""
    return json.dumps(_POLICY)


def calls(run_dir: Path, user: str, offset: int = 0) -> list[Call]:
    """Return the calls of one user that were logged after `offset` bytes of the log.

    A line that was half written there is left out.
    """
    return [call for call in _read(run_dir / LOG, offset) if call.user == user]


def size(run_dir: Path) -> int:
    """Return the length of the log so far, in bytes."""
    log = run_dir / LOG
    return log.stat().st_size if log.exists() else 0


def account(namespace: str, name: str) -> str:
    """Return the user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


def _read(log: Path, offset: int) -> Iterator[Call]:
    with log.open("rb") as lines:
        if offset:
            lines.seek(offset - 1)
            lines.readline()  # to the end of a line
        for line in lines:
            if not line.endswith(b"\n"):
                return  # still being written
            entry = json.loads(line)
            reference = entry.get("objectRef")
            if reference is None:
                continue
            subresource = f"/{reference['subresource']}" if "subresource" in reference else ""
            yield Call(
                user=entry["user"]["username"],
                verb=entry["verb"],
                group=reference.get("apiGroup", ""),
                resource=reference["resource"] + subresource,
                namespace=reference.get("namespace", ""),
                name=reference.get("name", ""),
                forbidden=entry.get("annotations", {}).get(_DECISION) == "forbid",
                dry_run="dryRun=All" in entry["requestURI"],
            )
