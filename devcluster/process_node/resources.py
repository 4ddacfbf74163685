"""The kinds of objects that a node reads and writes, beside those of the operator."""

from gpu_relay.clients.resources import Resource

CONFIG_MAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
VOLUMES = Resource("", "v1", "persistentvolumes")
ACCOUNT_TOKEN = Resource("", "v1", "serviceaccounts", "token")
NODE_STATUS = Resource("", "v1", "nodes", "status")
POD_STATUS = Resource("", "v1", "pods", "status")
