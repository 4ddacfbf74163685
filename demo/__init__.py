"""`make demo` and `make try`: the whole relay on the local Kubernetes, as its users see it.

Here are the demo's story and its timeline, the playground of docs/try-it.md, the data sets and recipes that both train,
and `relay`, which acts on a deployed relay with kubectl and HTTP. The cluster and the deployment itself are in
`devcluster`; that the demo works is checked in tests/unit/demo and tests/e2e.
"""
