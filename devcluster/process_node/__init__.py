"""A stand-in for a kubelet that runs pods as processes of this machine: no root, no containers, no images, no disk.

    API server ──pods bound to the node──► node.py ──a worker per pod──► pods.py ──► runner.py ──► shim.py ──► program
         ▲                                                                 │ volumes.py, environment.py
         └───────────────── status.py: phase, conditions, container states ┘

What is as on a kubelet: the Node and its Lease, init containers, restart policies and back-off, probes (httpGet),
environment (fieldRef, ConfigMaps, Secrets, `$(VAR)`), volumes (emptyDir, hostPath, PVCs on hostPath volumes,
ConfigMaps, Secrets, downward API, projected with bound service account tokens), termination messages, grace periods,
`activeDeadlineSeconds`, `kubectl logs`; no process outlives its container, however the node ends.

What is not, because nothing is isolated:
- There is no mount namespace. A volume is in the pod's folder, and the node writes that place wherever a mount path
  occurs in the command, the environment, or the text of ConfigMap and downward API files (not where that text says
  `mountPath` itself: a pod template); termination messages are translated back. A program that has a mount path built
  in does not find it. `readOnly` is not enforced, and `/tmp` is the machine's.
- There is no network namespace. A pod's address is a loopback address of its own, given to its containers as
  BIND_ADDRESS: a server that listens on every address collides with its neighbours. Services get no endpoints (the API
  server refuses loopback addresses in them), and there is no cluster DNS.
- Images are a table (images.py): our three programs run from this checkout, in the running Python's environment; any
  other image needs a `command`, which is looked up on this machine.
- Resource limits and securityContext are not applied; the user is the node's own. A container that asks for
  `nvidia.com/gpu`, or runs an image that asks for GPUs, sees the simulated GPU.
- Pods reach the API through KUBECONFIG (with their service account's token) instead of KUBERNETES_SERVICE_HOST.
- A pod with an unsupported feature (lifecycle hooks, sidecar init containers, other volumes or probes) fails at once
  with a message that says so. Nothing is recorded as Events.

Files: `<run-dir>/pods/<uid>/` (volumes), `<run-dir>/logs/<namespace>_<pod>_<uid>/<container>/<restart>.log` (kept).
"""
