"""What kwok makes of the pods of a run: they start at once, train for a while, and end well."""

from typing import Any

Object = dict[str, Any]
TRAINER = "127.9.255.254"
"""Where all trainers answer (bench/scale/actors.py)."""
ADDRESS = "bench.gpurelay.dev/address"
"""Annotation of a resident's pod: where it answers."""
_INIT = {"key": ".spec.initContainers"}
_POD = {"apiGroup": "v1", "kind": "Pod"}
_READY = """
{{ $now := Now }}
conditions:
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: Ready}
- {lastTransitionTime: {{ $now | Quote }}, status: "True", type: ContainersReady}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
phase: Running
podIP: ADDRESS
podIPs:
- ip: ADDRESS
startTime: {{ $now | Quote }}
"""
_DONE = """
{{ $now := Now }}
{{ $began := .status.startTime }}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      message: '{"reason": "Completed", "message": "trained"}'
      startedAt: {{ $began | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
phase: Succeeded
"""


def pod_stages(seconds: float, init_seconds: float) -> list[Object]:
    """Return the stages of pods that train for so long, after so long in their init containers where they have any."""
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    known = '{{ index .metadata.annotations "' + ADDRESS + '" | Quote }}'
    resident = f'.metadata.annotations["{ADDRESS}"]'
    return [
        _stage(
            "resident-ready",
            [alive, _phase("Pending"), {"key": resident, "operator": "Exists"}],
            status=_READY.replace("ADDRESS", known),
        ),
        _stage(
            "pod-ready",
            [
                alive,
                _phase("Pending"),
                {"key": resident, "operator": "DoesNotExist"},
                _INIT | {"operator": "DoesNotExist"},
            ],
            status=_READY.replace("ADDRESS", TRAINER),
        ),
        _stage(
            "pod-ready-after-init",
            [alive, _phase("Pending"), _INIT | {"operator": "Exists"}],
            status=_READY.replace("ADDRESS", TRAINER),
            seconds=init_seconds,
        ),
        _stage("pod-complete", [alive, _phase("Running"), _trains()], status=_DONE, seconds=seconds),
        _stage("pod-delete", [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}], delete=True),
    ]


def _phase(phase: str) -> Object:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


def _trains() -> Object:
    """Those that end by themselves: a resident does not."""
    return {"key": ".spec.restartPolicy", "operator": "In", "values": ["Never"]}


def _stage(
    name: str, selector: list[Object], *, status: str = "", seconds: float = 0.0, delete: bool = False
) -> Object:
    following: Object = {"delete": True} if delete else {"statusTemplate": status}
    spec: Object = {"resourceRef": _POD, "selector": {"matchExpressions": selector}, "next": following}
    if seconds:
        spec["delay"] = {"durationMilliseconds": round(seconds * 1000)}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}
